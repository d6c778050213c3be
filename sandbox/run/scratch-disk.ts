// Disks for the writable layer: sparse ext4 files. A scratch disk (`--disk`) ends with its run; a
// kept disk stays with its container. `mkfs.ext4` takes about as long as copying a template, since
// all zeros stay holes.
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { hasCode, messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import type { LayerDisk } from './machine-spec.js';

const BLOCK = 4096;
const MIN_SCRATCH = 16 * 1024 * 1024;
/** Bytes that 32-bit block numbers can address. */
const MAX_SCRATCH = 2 ** 32 * BLOCK;
/** Size in bytes of a kept disk if the spec has none. */
const DEFAULT_LAYER = 10 * 1024 ** 3;
/**
 * Milliseconds after which a scratch disk that still has a name is stale: its name is removed when
 * the machine boots.
 */
const STARTING = 600_000;
const EXTENSION = '.disk';
/** Bytes. On a smaller disk the journal would take too large a part. */
const MIN_JOURNALED = 64 * 1024 * 1024;

/** The file system is never resized, and its file is all holes. */
const MKFS_OPTIONS = ['-q', '-F', '-b', String(BLOCK), '-m', '0', '-E', 'assume_storage_prezeroed=1,nodiscard'];
/** A scratch disk does not outlive a crash, so it needs no journal. */
const UNKEPT_OPTIONS = ['-O', '^has_journal,^resize_inode'];
const KEPT_OPTIONS = ['-O', 'has_journal,^resize_inode', '-J', 'size=8'];

/**
 * A scratch disk's file. Disposing of it removes the name; the kernel frees the bytes when the
 * machine closes the file.
 */
export class ScratchDisk implements Disposable, LayerDisk {
  private constructor(
    readonly path: string,
    /** Bytes. */
    readonly size: number,
  ) {}

  /**
   * Makes the disk of run `id` below the state folder `home`.
   *
   * @param size in bytes, 16 MiB to 16 TiB; rounded up to whole blocks
   * @throws SandboxError `bad-spec` for a size out of range, `state` if the file cannot be made
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
 * The disk at `path`, which is made if it does not exist. One caller at a time for a path: it holds
 * the container's lock.
 *
 * @param size in bytes, 16 MiB to 16 TiB; ignored if the disk exists
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
    throw new SandboxError('bad-spec', 'invalid disk size: must be 16MB to 16TB');
  }
  return Math.ceil(size / BLOCK) * BLOCK;
}

async function makeExt4({ path, size }: LayerDisk, options: readonly string[]): Promise<void> {
  writeFileSync(path, '', { flag: 'wx', mode: 0o600 });
  truncateSync(path, size);
  // Debian has mkfs.ext4 in /usr/sbin, which only root has in its PATH.
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

/** The stderr of a program that failed; '' for other errors. */
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
