// The disk of the writable layer: a sparse ext4 file in the container's folder. `mkfs.ext4` takes
// about as long as copying a template, since all zeros stay holes.
import { execFile } from 'node:child_process';
import { renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { hasCode, messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import type { LayerDisk } from './machine-spec.js';
import type { Layer } from './run-options.js';

const BLOCK = 4096;
/** Size in bytes if the spec has none. */
const DEFAULT_SIZE = 10 * 1024 ** 3;
const MIN_SIZE = 16 * 1024 ** 2;
/** Bytes. On a smaller disk the journal would take too large a part. */
const MIN_JOURNALED = 64 * 1024 * 1024;

/** The file system is never resized, and its file is all holes. */
const MKFS_OPTIONS = ['-q', '-F', '-b', String(BLOCK), '-m', '0', '-E', 'assume_storage_prezeroed=1,nodiscard'];
/** A disk that need not outlive a crash needs no journal. */
const UNKEPT_OPTIONS = ['-O', '^has_journal,^resize_inode'];
const KEPT_OPTIONS = ['-O', 'has_journal,^resize_inode', '-J', 'size=8'];

/**
 * The disk at `path`, which is made if it does not exist. One caller at a time for a path: it holds
 * the container's lock.
 *
 * @param wanted in bytes, rounded up to whole blocks; ignored if the disk exists
 * @param room bytes that the home has room for
 * @throws SandboxError `no-space`; `state` if the file cannot be made
 */
export async function layerDisk(
  { path, kept }: Layer,
  wanted?: number,
  room = Number.POSITIVE_INFINITY,
): Promise<LayerDisk> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined) return { path, size: found.size, kept };
  const size = boundedSize(room, wanted);
  const made = `${path}.new`;
  const whole = Math.ceil(size / BLOCK) * BLOCK;
  try {
    rmSync(made, { force: true });
    await makeExt4(made, whole, kept && whole >= MIN_JOURNALED ? KEPT_OPTIONS : UNKEPT_OPTIONS);
    renameSync(made, path);
    return { path, size: whole, kept };
  } catch (cause) {
    rmSync(made, { force: true });
    throw failure(dirname(path), cause);
  }
}

/** A disk that is not given a size leaves half of the room to others. */
function boundedSize(room: number, wanted: number | undefined): number {
  const size = wanted ?? Math.min(DEFAULT_SIZE, Math.floor(room / 2));
  if (size <= room && size >= MIN_SIZE) return size;
  const message = `no room for a disk of ${wanted ?? MIN_SIZE} bytes: the home has ${room} left (TSVM_HOME_SIZE)`;
  throw new SandboxError('no-space', message);
}

async function makeExt4(path: string, size: number, options: readonly string[]): Promise<void> {
  writeFileSync(path, '', { flag: 'wx', mode: 0o600 });
  truncateSync(path, size);
  // Debian has mkfs.ext4 in /usr/sbin, which only root has in its PATH.
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  await promisify(execFile)('mkfs.ext4', [...MKFS_OPTIONS, ...options, path], { env });
}

function failure(folder: string, cause: unknown): SandboxError {
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
