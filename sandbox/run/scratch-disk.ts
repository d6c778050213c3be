// Disks for the writable layer: sparse ext4 files. One is a run's own (--disk) and lives no longer; the other is kept
// with its container. mkfs.ext4 makes one in about the time that copying a template takes, since everything that is
// zero stays a hole.
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { hasCode, messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import type { LayerDisk } from './machine-spec.js';

const BLOCK = 4096;
const MIN_SCRATCH = 16 * 1024 * 1024;
/** What 32-bit block numbers reach. */
const MAX_SCRATCH = 2 ** 32 * BLOCK;
/** Bytes of a disk that nobody gave a size. */
const DEFAULT_LAYER = 10 * 1024 ** 3;
/** Milliseconds after which a disk that still has a name has lost its owner: it has one only until the machine is up. */
const STARTING = 600_000;
const EXTENSION = '.disk';
/** Below this a journal takes too large a part of the disk. */
const MIN_JOURNALED = 64 * 1024 * 1024;

/** Never resized, and made of a file that is all holes. */
const MKFS_OPTIONS = ['-q', '-F', '-b', String(BLOCK), '-m', '0', '-E', 'assume_storage_prezeroed=1,nodiscard'];
/** A crash ends the disk with its run: there is nothing to replay. */
const UNKEPT_OPTIONS = ['-O', '^has_journal,^resize_inode'];
const KEPT_OPTIONS = ['-O', 'has_journal,^resize_inode', '-J', 'size=8'];

/** A scratch disk's file. Disposing of it takes the name away; the bytes go when the machine closes it. */
export class ScratchDisk implements Disposable, LayerDisk {
  private constructor(
    readonly path: string,
    /** Bytes. */
    readonly size: number,
  ) {}

  /**
   * Makes the disk of run `id` under `home`.
   *
   * @param size bytes, 16 MiB to 16 TiB; rounded up to whole blocks
   * @throws SandboxError `bad-spec` for a size out of range, `state` when the host says no
   */
  static async create(home: string, id: string, size: number): Promise<ScratchDisk> {
    const folder = join(home, 'scratch');
    const disk = new ScratchDisk(join(folder, id + EXTENSION), wholeBlocks(size));
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      sweep(folder);
      await makeExt4(disk, UNKEPT_OPTIONS);
      return disk;
    } catch (cause) {
      disk[Symbol.dispose]();
      throw failure(folder, cause);
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { force: true });
  }
}

/**
 * The disk at `path`, which is made if it is not there yet. Whoever calls is alone to do so for this path.
 *
 * @param size bytes, 16 MiB to 16 TiB; of no effect on a disk that is there
 * @throws SandboxError as `ScratchDisk.create`
 */
export async function keptDisk(path: string, size = DEFAULT_LAYER): Promise<LayerDisk> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined) return { path, size: found.size };
  const disk = { path: `${path}.new`, size: wholeBlocks(size) };
  try {
    rmSync(disk.path, { force: true });
    await makeExt4(disk, disk.size < MIN_JOURNALED ? UNKEPT_OPTIONS : KEPT_OPTIONS);
    renameSync(disk.path, path);
    return { path, size: disk.size };
  } catch (cause) {
    rmSync(disk.path, { force: true });
    throw failure(dirname(path), cause);
  }
}

function wholeBlocks(size: number): number {
  if (size < MIN_SCRATCH || size > MAX_SCRATCH) {
    throw new SandboxError('bad-spec', 'invalid disk size: 16MB to 16TB are possible');
  }
  return Math.ceil(size / BLOCK) * BLOCK;
}

async function makeExt4({ path, size }: LayerDisk, options: readonly string[]): Promise<void> {
  writeFileSync(path, '', { flag: 'wx', mode: 0o600 });
  truncateSync(path, size);
  // Where Debian has it, which is on root's PATH only.
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  await promisify(execFile)('mkfs.ext4', [...MKFS_OPTIONS, ...options, path], { env });
}

function failure(folder: string, cause: unknown): SandboxError {
  if (cause instanceof SandboxError) return cause;
  return new SandboxError('state', `cannot make a disk in ${folder}: ${reason(cause)}`, { cause });
}

function reason(cause: unknown): string {
  const stderr = stderrOf(cause);
  if (hasCode(cause, 'ENOENT')) return 'mkfs.ext4 is missing: install e2fsprogs';
  if (hasCode(cause, 'ENOSPC') || /No space left/.test(stderr)) return 'no space left';
  if (hasCode(cause, 'EFBIG')) return 'its file system has no files that large';
  return stderr.trim().split('\n').at(-1) || messageOf(cause);
}

/** What a program that failed wrote to stderr; '' for other errors. */
function stderrOf(cause: unknown): string {
  if (!(cause instanceof Error) || !('stderr' in cause)) return '';
  return String(cause.stderr);
}

function sweep(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(EXTENSION)) continue;
    const path = join(folder, name);
    const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (made !== undefined && Date.now() - made > STARTING) rmSync(path, { force: true });
  }
}
