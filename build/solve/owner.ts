// The owner that `--chown` names: numbers, or names of the stage's /etc/passwd and /etc/group.
import { findInode, type LayerTree } from '../../images/build.js';
import { BuildError } from '../build-error.js';

const MAX_ID = 0xfffffffe;
/** Bytes of a file of names that are read. */
const MAX_FILE = 16 << 20;

export interface Owner {
  uid: number;
  gid: number;
}

/**
 * @param text `user[:group]`
 * @throws BuildError `bad-dockerfile`
 */
export async function findOwner(tree: LayerTree, text: string): Promise<Owner> {
  const colon = text.indexOf(':');
  const user = colon < 0 ? text : text.slice(0, colon);
  const group = colon < 0 ? undefined : text.slice(colon + 1);
  let uid = numberOf(user);
  let gid = uid;
  if (uid === undefined) {
    const line = (await linesOf(tree, 'etc/passwd')).find(([name]) => name === user);
    uid = numberOf(line?.[2] ?? '');
    gid = numberOf(line?.[3] ?? '');
    if (uid === undefined || gid === undefined) throw unknown('user', user);
  }
  if (group !== undefined && group !== '') {
    gid = numberOf(group);
    if (gid === undefined) {
      const line = (await linesOf(tree, 'etc/group')).find(([name]) => name === group);
      gid = numberOf(line?.[2] ?? '');
      if (gid === undefined) throw unknown('group', group);
    }
  }
  return { uid, gid: gid ?? 0 };
}

function numberOf(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

async function linesOf(tree: LayerTree, path: string): Promise<string[][]> {
  const inode = findInode(tree.root, path);
  if (inode?.kind !== 'file') return [];
  if (inode.size > MAX_FILE) throw new BuildError('too-large', `/${path} of the image exceeds ${MAX_FILE} bytes`);
  const chunks: Buffer[] = [];
  for await (const chunk of tree.read(inode)) chunks.push(chunk);
  return Buffer.concat(chunks)
    .toString()
    .split('\n')
    .map((line) => line.split(':'));
}

function unknown(what: string, name: string): BuildError {
  return new BuildError(
    'bad-dockerfile',
    `unable to find ${what} ${name}: no matching entry in the ${what === 'user' ? 'passwd' : 'group'} file`,
  );
}
