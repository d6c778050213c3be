// The cgroup of one machine, or of its supervisor: what is in it, what it may use, and its end.
import { closeSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { codeOf, hasCode, messageOf } from '../../errors/index.js';
import { AT_FDCWD, O_PATH, openat2, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } from '../../libc/openat2.js';
import { SandboxError } from '../errors.js';
import { isCgroup, writeControl } from './hierarchy.js';
import { type CgroupLimits, limitFiles } from './limits.js';
import { stopUnit } from './systemd.js';

/**
 * Milliseconds that killed processes have to end: a busy host takes gigabytes of memory back slowly.
 */
export const KILL_TIMEOUT = 60_000;
/** Milliseconds between two looks: the kernel has no event for a cgroup that can be removed. */
const INTERVAL = 5;

const NO_LINKS = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/** What a machine, or its supervisor, needs of its cgroup. */
export interface MachineCgroup {
  /**
   * Puts processes into the cgroup.
   * @returns false if that fails, and no cgroup was asked for
   * @throws SandboxError `cgroup`
   */
  add(pids: readonly number[]): Promise<boolean>;
  /** Why the kernel ended the machine, if it did for lack of memory. */
  outOfMemory(): string | undefined;
  /** Kills what is left in it, and removes it. */
  remove(): Promise<void>;
}

/** The name of the cgroup of the container `id`'s machine. */
export function cgroupName(id: string): string {
  return `tsvm-${id}`;
}

/** The name of the cgroup of its supervisor. */
export function supervisorCgroupName(id: string): string {
  return `${cgroupName(id)}-supervisor`;
}

/** A cgroup in a folder that belongs to this user. */
export class FolderCgroup implements MachineCgroup {
  readonly #limits: CgroupLimits;

  private constructor(
    readonly path: string,
    limits: CgroupLimits,
  ) {
    this.#limits = limits;
  }

  /**
   * Makes the cgroup at `path`. What a machine that was killed left there is removed before.
   * @throws SandboxError `cgroup`
   */
  static async make(path: string, limits: CgroupLimits): Promise<FolderCgroup> {
    try {
      await removeCgroup(path);
      mkdirSync(path, { mode: 0o755 });
      for (const [file, value] of limitFiles(limits)) writeLimit(join(path, file), value);
      return new FolderCgroup(path, limits);
    } catch (cause) {
      await removeCgroup(path).catch(() => {});
      throw cannot('make', path, cause);
    }
  }

  async add(pids: readonly number[]): Promise<true> {
    try {
      for (const pid of pids) enter(this.path, pid);
      return true;
    } catch (cause) {
      throw cannot('use', this.path, cause);
    }
  }

  outOfMemory(): string | undefined {
    return describeOutOfMemory(this.path, this.#limits);
  }

  remove(): Promise<void> {
    return removeCgroup(this.path);
  }
}

/** One line if the kernel has killed processes of the cgroup for lack of memory. */
export function describeOutOfMemory(path: string, { memory }: CgroupLimits): string | undefined {
  try {
    const kills = /^oom_kill (\d+)$/m.exec(readFileSync(join(path, 'memory.events'), 'utf8'))?.[1];
    if (kills === undefined || kills === '0') return undefined;
  } catch {
    return undefined;
  }
  return `the machine was ended: it used more memory than ${Math.floor(memory / 2 ** 20)} MiB on the host`;
}

/**
 * Kills what is in the cgroup at `path`, and removes it. Does nothing if there is none.
 * @throws SandboxError `cgroup` if its processes do not end
 */
export async function removeCgroup(path: string): Promise<void> {
  const folder = openCgroup(path);
  if (folder === undefined) return;
  try {
    killAll(`/proc/self/fd/${folder}`, path);
    // systemd misses the end of a cgroup that others remove, and keeps its scope for ever.
    if (path.endsWith('.scope') && (await stopUnit(basename(path)))) await until(() => !existsSync(path));
    if (!(await until(() => isRemoved(path)))) {
      throw cannot('remove', path, new Error('its processes do not end'));
    }
  } finally {
    closeSync(folder);
  }
}

/** Resolves to false if `holds` is false for the time that killed processes have to end. */
async function until(holds: () => boolean): Promise<boolean> {
  const late = performance.now() + KILL_TIMEOUT;
  while (!holds()) {
    if (performance.now() > late) return false;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
  return true;
}

/** True if `path`, as a record has it, is a cgroup of the container `id`. */
export function isCgroupOf(path: string, id: string): boolean {
  return [cgroupName(id), supervisorCgroupName(id)].includes(basename(path, '.scope'));
}

/** Undefined if there is none: also for a folder that is no cgroup. */
function openCgroup(path: string): number | undefined {
  try {
    const fd = openat2(AT_FDCWD, path, O_PATH | constants.O_DIRECTORY, NO_LINKS);
    if (isCgroup(`/proc/self/fd/${fd}`)) return fd;
    closeSync(fd);
    return undefined;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw cannot('open', path, error);
  }
}

/**
 * Linux 5.14 and later. Before, the machine process has ended what it started. The file cannot be
 * read.
 */
function killAll(folder: string, path: string): void {
  try {
    writeControl(join(folder, 'cgroup.kill'), '1');
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENODEV')) throw cannot('remove', path, error);
  }
}

/** False while it has processes. */
function isRemoved(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'EBUSY')) return false;
    if (hasCode(error, 'ENOENT')) return true;
    throw cannot('remove', path, error);
  }
}

/** A process that has ended needs no cgroup. */
export function enter(folder: string, pid: number): void {
  try {
    writeControl(join(folder, 'cgroup.procs'), String(pid));
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/**
 * A kernel without swap accounting has no `memory.swap.max`, `memory.oom.group` is of 4.19, and
 * `io.max` needs a controller that not every user has. ENODEV and EOPNOTSUPP: a disk that the kernel
 * cannot limit.
 */
export function writeLimit(path: string, value: string): void {
  try {
    writeControl(path, value);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP')) throw error;
  }
}

function cannot(what: string, path: string, cause: unknown): SandboxError {
  return new SandboxError('cgroup', `cannot ${what} cgroup ${path}: ${codeOf(cause) ?? messageOf(cause)}`, { cause });
}
