// A host may hide processes of other users, and those that nobody may read (proc(5), hidepid). A
// machine is bounded there as elsewhere: its owner asks /proc for none of its processes.
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../../..', import.meta.url));
const USER = 12345;

let folder: string;
let cases = 0;
beforeAll(async () => {
  folder = mkdtempSync('/tmp/tsvm-hidden-');
  chmodSync(folder, 0o755);
  const refuse = join(root, 'test/unit/jail/refuse.c');
  execFileSync('gcc', ['-std=gnu11', '-D_GNU_SOURCE', '-static', '-O1', '-o', join(folder, 'refuse'), refuse]);
  execFileSync('make', ['-s', '-C', join(root, 'jail'), `OUT=${folder}`]);
  await build({
    entryPoints: [fileURLToPath(new URL('bounded-owner.ts', import.meta.url))],
    ...({ bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] } as const),
    outfile: join(folder, 'bounded-owner.mjs'),
  });
  // The ordinary user may not enter the checkout.
  for (const name of ['koffi', '@koromix']) {
    cpSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true });
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

/** In a process namespace of its own, whose /proc hides what `hidepid` says. */
function own(uid: number, hidepid: number, refused: string | undefined): unknown {
  const path = join(folder, `case-${cases++}`);
  mkdirSync(path, { mode: 0o755 });
  chownSync(path, uid, uid);
  const script = `umount -l /proc; mount -t proc -o hidepid=${hidepid} proc /proc && exec "$@"`;
  const user = ['setpriv', '--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups'];
  const words = [
    ...['--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private', 'sh', '-c', script, 'sh'],
    // As in a container of Docker: root limits processes of its own user alone.
    ...(uid === 0 ? ['setpriv', '--bounding-set=-sys_resource'] : user),
    ...(refused === undefined ? [] : [join(folder, 'refuse'), refused]),
    ...[process.execPath, join(folder, 'bounded-owner.mjs'), path],
  ];
  return JSON.parse(execFileSync('unshare', words, { encoding: 'utf8', cwd: '/' }));
}

test.each([
  ['root', 0, 2, undefined],
  ['an ordinary user', USER, 1, undefined],
  ['an ordinary user', USER, 2, undefined],
  ['an ordinary user with landlock alone', USER, 1, 'namespaces'],
  ['an ordinary user with landlock alone', USER, 2, 'namespaces'],
  ['an ordinary user without a jail for files', USER, 2, 'landlock'],
] as const)('the machine of %s (%d) is bounded with hidepid=%d', (_, uid, hidepid, refused) => {
  const bytes = 2 * 2 ** 30 + 2 * 64 * 2 ** 20;
  expect(own(uid, hidepid, refused)).toEqual({
    // Of these tests, if they have a lower one.
    limits: `${bytes} ${bytes} ${Math.max(5, getPriority())}`,
    ...(refused === 'landlock' ? { files: null } : { files: refused === undefined ? 'namespace' : 'landlock' }),
    isWaitKnown: true,
    hasStarted: true,
  });
});
