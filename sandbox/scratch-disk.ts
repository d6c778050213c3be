// The disk of the writable layer (--disk): a sparse ext4 file that lives no longer than its run. mkfs.ext4 makes one in
// about the time that copying a template takes, since everything that is zero stays a hole.
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SandboxError } from './errors.js';

const BLOCK = 4096;
export const MIN_SCRATCH = 16 * 1024 * 1024;
/** What 32-bit block numbers reach. */
export const MAX_SCRATCH = 2 ** 32 * BLOCK;
/** Milliseconds after which a disk that still has a name has lost its owner: it has one only until the machine is up. */
const STARTING = 600_000;
const EXTENSION = '.disk';

const MKFS_OPTIONS = [
  ...['-q', '-F', '-b', String(BLOCK), '-m', '0'],
  // A crash ends the disk with its run: there is nothing to replay. Nor is it ever resized.
  ...['-O', '^has_journal,^resize_inode'],
  ...['-E', 'assume_storage_prezeroed=1,nodiscard'],
];

/** A scratch disk's file. Disposing of it takes the name away; the bytes go when the machine closes it. */
export class ScratchDisk implements Disposable {
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
    if (size < MIN_SCRATCH || size > MAX_SCRATCH) {
      throw new SandboxError('bad-spec', 'invalid disk size: 16MB to 16TB are possible');
    }
    const folder = join(home, 'scratch');
    const disk = new ScratchDisk(join(folder, id + EXTENSION), Math.ceil(size / BLOCK) * BLOCK);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      sweep(folder);
      writeFileSync(disk.path, '', { flag: 'wx', mode: 0o600 });
      truncateSync(disk.path, disk.size);
      // Where Debian has it, which is on root's PATH only.
      const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
      await promisify(execFile)('mkfs.ext4', [...MKFS_OPTIONS, disk.path], { env });
      return disk;
    } catch (cause) {
      disk[Symbol.dispose]();
      throw new SandboxError('state', `cannot make a disk in ${folder}: ${reason(cause)}`, { cause });
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { force: true });
  }
}

function reason(cause: unknown): string {
  const { code, message, stderr } = cause as NodeJS.ErrnoException & { stderr?: string };
  if (code === 'ENOENT') return 'mkfs.ext4 is missing: install e2fsprogs';
  if (code === 'ENOSPC' || /No space left/.test(stderr ?? '')) return 'no space left';
  if (code === 'EFBIG') return 'its file system has no files that large';
  return stderr?.trim().split('\n').at(-1) || message;
}

function sweep(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(EXTENSION)) continue;
    const path = join(folder, name);
    const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (made !== undefined && Date.now() - made > STARTING) rmSync(path, { force: true });
  }
}
