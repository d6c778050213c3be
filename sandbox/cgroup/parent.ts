// The folder in which cgroups of machines are made: one that was delegated, or root's own.
import { closeSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, hasCode, messageOf } from '../../errors/index.js';
import { AT_FDCWD, O_PATH, openat2, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } from '../../libc/openat2.js';
import { SandboxError } from '../errors.js';
import {
  CONTROLLERS,
  commonAncestor,
  foldersTo,
  isCgroup,
  isWritable,
  mountedHierarchy,
  ownCgroup,
  ownerOf,
  wordsOf,
  writeControl,
} from './hierarchy.js';

/** Root's folder in the hierarchy. */
const ROOT_FOLDER = 'tsvm';
const SUBTREE_CONTROL = 'cgroup.subtree_control';

/**
 * The folder of cgroup v2 that was delegated to this user, ready for cgroups of machines.
 * @param path as given: below the mount of cgroup v2, or as Docker has it, without that mount
 * @returns its path
 * @throws SandboxError `cgroup`
 */
export function delegatedParent(path: string): string {
  const refuse = (why: string) => new SandboxError('cgroup', `cgroup parent ${path}: ${why}`);
  const mount = mountedHierarchy();
  if (mount === undefined) throw refuse('this host has no cgroup v2: mount -t cgroup2 none /sys/fs/cgroup');
  const full = join(path === mount || path.startsWith(`${mount}/`) ? '/' : mount, path).replace(/\/+$/, '');
  prepare(full, mount, refuse);
  return full;
}

/**
 * Root's own folder, made if it is missing.
 * @param mount path of the mount of cgroup v2
 * @returns its path
 * @throws SandboxError `cgroup`
 */
export function rootParent(mount: string): string {
  const path = join(mount, ROOT_FOLDER);
  const refuse = (why: string) => new SandboxError('cgroup', `${path}: ${why}`);
  try {
    enable(mount, wordsOf(join(mount, 'cgroup.controllers')));
    mkdirSync(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw refuse(hasCode(error, 'EBUSY') ? busy(mount) : `cannot be made: ${codeOf(error) ?? messageOf(error)}`);
  }
  prepare(path, mount, refuse);
  return path;
}

type Refuse = (why: string) => SandboxError;

/** Checks the folder, and gives its children the controllers. */
function prepare(path: string, mount: string, refuse: Refuse): void {
  const fd = openFolder(path, refuse);
  try {
    const folder = `/proc/self/fd/${fd}`;
    if (!isCgroup(folder)) throw refuse('it is no folder of cgroup v2');
    checkRights(path, mount, refuse);
    const available = wordsOf(join(folder, 'cgroup.controllers'));
    const missing = CONTROLLERS.filter((name) => !available.includes(name));
    if (missing.length > 0) {
      throw refuse(`it lacks the controllers ${missing.join(', ')}: enable them in the ${SUBTREE_CONTROL} above it`);
    }
    enable(folder, available);
  } catch (error) {
    if (error instanceof SandboxError) throw error;
    throw refuse(hasCode(error, 'EBUSY') ? busy(path) : `its controllers: ${codeOf(error) ?? messageOf(error)}`);
  } finally {
    closeSync(fd);
  }
}

/** A folder of cgroup v2 cannot be renamed, so its path stays its own. */
function checkRights(path: string, mount: string, refuse: Refuse): void {
  const uid = process.geteuid?.() ?? 0;
  for (const each of foldersTo(path, mount)) {
    const owner = ownerOf(each);
    // Another user could move the processes of a machine out, or lift its limits.
    if (owner !== 0 && owner !== uid) throw refuse(`${each} belongs to user ${owner}: use a folder of user ${uid}`);
  }
  for (const name of ['', 'cgroup.procs', SUBTREE_CONTROL]) {
    if (isWritable(join(path, name))) continue;
    if (uid === 0) throw refuse('it cannot be written: mount cgroup v2 for writing');
    throw refuse(`it is not delegated to user ${uid}: have root run: chown ${uid} ${join(path, name)}`);
  }
  const own = ownCgroup(mount);
  const above = own === undefined ? mount : commonAncestor(path, own);
  // cgroups(7): a process is moved by whoever may write to the nearest common ancestor.
  if (!isWritable(join(above, 'cgroup.procs'))) {
    throw refuse(`this process is in ${own ?? 'another namespace'} and cannot leave it: start tsvm in ${path}/NAME`);
  }
}

function openFolder(path: string, refuse: Refuse): number {
  try {
    return openat2(AT_FDCWD, path, O_PATH | constants.O_DIRECTORY, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) throw refuse('there is no such folder: make it, or name another');
    if (hasCode(error, 'ELOOP')) throw refuse('a link is on the way: name the folder itself');
    if (hasCode(error, 'ENOTDIR')) throw refuse('it is no folder');
    throw refuse(codeOf(error) ?? messageOf(error));
  }
}

/** Gives the children of a cgroup its controllers. @throws Error `EBUSY` if it has processes */
function enable(folder: string, available: readonly string[]): void {
  const enabled = wordsOf(join(folder, SUBTREE_CONTROL));
  const wanted = [...CONTROLLERS, 'io'].filter((name) => available.includes(name) && !enabled.includes(name));
  if (wanted.length === 0) return;
  writeControl(join(folder, SUBTREE_CONTROL), wanted.map((name) => `+${name}`).join(' '));
}

function busy(path: string): string {
  return `${path} has processes of its own, so that the kernel gives its children no controllers: move them into a child`;
}
