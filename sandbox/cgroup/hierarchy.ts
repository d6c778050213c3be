// The cgroup v2 hierarchy of this host: where it is mounted, and where this process is in it.
import { accessSync, closeSync, constants, openSync, readFileSync, statfsSync, statSync, writeSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { hasCode } from '../../errors/index.js';

/** `f_type` of statfs(2): CGROUP2_SUPER_MAGIC. */
const CGROUP2 = 0x63677270;

/** The controllers that bound a machine. */
export const CONTROLLERS = ['memory', 'cpu', 'pids'] as const;

/** Path of the first mount of cgroup v2 in the text of /proc/self/mountinfo (proc(5)). */
export function cgroupMount(mountinfo: string): string | undefined {
  for (const line of mountinfo.split('\n')) {
    const [mount = '', type = ''] = line.split(' - ');
    const path = mount.split(' ')[4];
    if (type.startsWith('cgroup2 ') && path !== undefined) return unescapeMount(path);
  }
  return undefined;
}

/** proc(5) writes space, tab, newline and backslash as octal digits. */
function unescapeMount(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/**
 * The path in the hierarchy from the text of /proc/PID/cgroup (cgroups(7)). Undefined for a process
 * outside the cgroup namespace of this one.
 */
export function cgroupInHierarchy(text: string): string | undefined {
  const path = /^0::(\/.*)$/m.exec(text)?.[1];
  return path === undefined || path.startsWith('/..') ? undefined : path.replace(/ \(deleted\)$/, '');
}

/** Path of the mount of cgroup v2; undefined if there is none. */
export function mountedHierarchy(): string | undefined {
  return cgroupMount(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** Path of this process's cgroup below `mount`; undefined if it is not known. */
export function ownCgroup(mount: string): string | undefined {
  const path = cgroupInHierarchy(readFileSync('/proc/self/cgroup', 'utf8'));
  return path === undefined ? undefined : join(mount, path).replace(/\/$/, '');
}

export function isCgroup(path: string): boolean {
  return statfsSync(path).type === CGROUP2;
}

/** The words of a file such as `cgroup.controllers`; none if the file or its cgroup is missing. */
export function wordsOf(path: string): string[] {
  try {
    return readFileSync(path, 'latin1')
      .split(/\s+/)
      .filter((word) => word !== '');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV')) return [];
    throw error;
  }
}

/** Writes a file of a cgroup, if it is there. An ordinary user may not read all of them. */
export function writeControl(path: string, value: string): void {
  const fd = openSync(path, constants.O_WRONLY);
  try {
    writeSync(fd, value);
  } finally {
    closeSync(fd);
  }
}

/** The folders from the mount to `path`, which is below it. */
export function foldersTo(path: string, mount: string): string[] {
  const names = relative(mount, path)
    .split(sep)
    .filter((name) => name !== '');
  return [mount, ...names.map((_, index) => join(mount, ...names.slice(0, index + 1)))];
}

/** The nearest folder above both. */
export function commonAncestor(one: string, other: string): string {
  let path = one;
  while (relative(path, other).split(sep)[0] === '..') path = dirname(path);
  return path;
}

export function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export function ownerOf(path: string): number {
  return statSync(path).uid;
}
