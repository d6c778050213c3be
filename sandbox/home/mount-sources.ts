// The sources of bind mounts. A source is a file, not a name: `create` finds it once, and each
// start opens the same path without following a link. Otherwise a guest that may write a folder
// could replace a source in it by a link to any folder of the host.
import { closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync } from 'node:fs';
import { hasCode, messageOf } from '../../errors/index.js';
import { AT_FDCWD, O_PATH, openat2, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } from '../../libc/openat2.js';
import { SandboxError } from '../errors.js';
import type { BindMount, SourceFile } from '../spec/mounts.js';
import type { SharedFolders } from './shared-folders.js';

/** Links on the way to one source, as in Linux. */
const MAX_LINKS = 40;
const NO_LINKS = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/** The caller owns the descriptor. */
interface OpenFile {
  /** Opened with O_PATH. */
  fd: number;
  /** Its path without links. */
  path: string;
}

/** An open source. */
interface OpenSource extends OpenFile {
  file: SourceFile;
}

/**
 * Finds the source of a new bind mount, through links if need be.
 * @throws SandboxError `bad-spec` if there is no folder or file, or if a guest may have made a link
 *   on the way
 */
export function findSource(source: string, shared: SharedFolders): SourceFile {
  const open = walk(source, shared);
  try {
    return identify(open, source);
  } finally {
    closeSync(open.fd);
  }
}

/**
 * Opens the source of a bind mount for a start. A file that was replaced since the container was
 * created is accepted if it has the same type and owner, as after a change by an editor.
 * @throws SandboxError `bad-spec` if it is gone or another
 */
export function openSource({ source, file }: BindMount, shared: SharedFolders): OpenSource {
  // The record of an older version has no file.
  const open = file === undefined ? walk(source, shared) : { fd: openWithoutLinks(file.path, source), path: file.path };
  try {
    const found = identify(open, source);
    checkLike(found, file, source);
    return { ...open, file: found };
  } catch (error) {
    closeSync(open.fd);
    throw error;
  }
}

/** @throws SandboxError `bad-spec` */
function checkLike(found: SourceFile, known: SourceFile | undefined, source: string): void {
  if (known === undefined) return;
  const isSame = isSameFile(found, known);
  const hasSameOwner = found.uid === known.uid && found.gid === known.gid;
  if (found.type === known.type && (isSame || hasSameOwner)) return;
  const why = 'it was replaced by a file of another type or owner since the container was created';
  throw new SandboxError('bad-spec', `bind source path cannot be mounted: ${source}: ${why}`);
}

export function isSameFile(one: SourceFile, other: SourceFile): boolean {
  return one.device === other.device && one.inode === other.inode && one.birth === other.birth;
}

/** @throws SandboxError `bad-spec` for what is neither a folder nor a regular file */
function identify({ fd, path }: OpenFile, source: string): SourceFile {
  const status = fstatSync(fd);
  const { dev: device, ino: inode, birthtimeMs: birth, uid, gid } = status;
  if (status.isDirectory()) return { path, type: 'folder', device, inode, birth, uid, gid };
  if (status.isFile()) return { path, type: 'file', device, inode, birth, uid, gid };
  throw new SandboxError('bad-spec', `bind source path is neither a folder nor a file: ${source}`);
}

function openWithoutLinks(path: string, source: string): number {
  try {
    return openat2(AT_FDCWD, path, O_PATH, NO_LINKS);
  } catch (cause) {
    if (!hasCode(cause, 'ELOOP')) throw refused(source, cause);
    const why = 'a link is on its path since the container was created';
    throw new SandboxError('bad-spec', `bind source path cannot be mounted: ${source}: ${why}`, { cause });
  }
}

/**
 * Opens `source` name by name, so that each link is seen before it is followed.
 * @throws SandboxError `bad-spec`
 */
function walk(source: string, shared: SharedFolders): OpenFile {
  const names = namesOf(source);
  let fd = openSync('/', O_PATH);
  let links = 0;
  try {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      const next = openat2(fd, name, O_PATH | constants.O_NOFOLLOW, RESOLVE_NO_MAGICLINKS);
      if (!isLink(next)) {
        closeSync(fd);
        fd = next;
        continue;
      }
      closeSync(next);
      const folder = pathOf(fd, source);
      if (shared.cover(fd, folder)) throw new GuestLink(`${folder === '/' ? '' : folder}/${name}`);
      if (++links > MAX_LINKS) throw new SandboxError('bad-spec', `bind source path has too many links: ${source}`);
      const target = readlinkSync(`/proc/self/fd/${fd}/${name}`);
      names.unshift(...namesOf(target));
      if (target.startsWith('/')) {
        const root = openSync('/', O_PATH);
        closeSync(fd);
        fd = root;
      }
    }
    return { fd, path: pathOf(fd, source) };
  } catch (cause) {
    closeSync(fd);
    throw refused(source, cause);
  }
}

/** A link that a guest may have made. */
class GuestLink extends Error {}

/** Closes what it cannot look at. */
function isLink(fd: number): boolean {
  try {
    return fstatSync(fd).isSymbolicLink();
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

/**
 * The path of an open file.
 * @throws SandboxError `bad-spec` if it has none here, or one that is not UTF-8
 */
function pathOf(fd: number, source: string): string {
  const bytes = readlinkSync(`/proc/self/fd/${fd}`, 'buffer');
  const path = bytes.toString();
  const [open, named] = [fstatSync(fd), lstatSync(path, { throwIfNoEntry: false })];
  if (bytes.equals(Buffer.from(path)) && named?.dev === open.dev && named.ino === open.ino) return path;
  throw new SandboxError('bad-spec', `bind source path cannot be mounted: ${source}: it has no path of its own`);
}

function refused(source: string, cause: unknown): SandboxError {
  if (cause instanceof SandboxError) return cause;
  if (cause instanceof GuestLink) {
    const why = `a container may have made the link ${cause.message}: give the path that it leads to`;
    return new SandboxError('bad-spec', `bind source path cannot be mounted: ${source}: ${why}`);
  }
  if (hasCode(cause, 'ENOENT', 'ENOTDIR')) {
    return new SandboxError('bad-spec', `bind source path does not exist: ${source}`, { cause });
  }
  return new SandboxError('bad-spec', `bind source path cannot be mounted: ${messageOf(cause)}`, { cause });
}
