// Folders inside the cache in which kernels are made, and how a finished one gets its place.
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../errors/index.js';
import { KernelError } from './errors.js';

/**
 * Makes an empty folder in the cache, and removes those of killed processes.
 * @throws KernelError if the cache cannot be written
 */
export function makeWorkFolder(cache: string): string {
  try {
    mkdirSync(cache, { recursive: true });
    removeLeftovers(cache);
    return makeFolder(cache);
  } catch (cause) {
    throw new KernelError(
      `cannot write to the cache of kernels: ${messageOf(cause)} (TSVM_KERNEL_CACHE names another folder)`,
      { cause },
    );
  }
}

function makeFolder(cache: string): string {
  const folder = join(cache, `.build-${bootId()}-${process.pid}-${randomBytes(4).toString('hex')}`);
  mkdirSync(folder);
  return folder;
}

/**
 * Moves files into a kernel's folder, which exists from then on: each file is there as a whole or not
 * at all, also after a crash of the host. The last file makes the folder a kernel. Of two processes
 * that do this at once, each replaces the other's files by the same ones.
 */
export function placeFiles(work: string, directory: string, files: readonly string[]): void {
  for (const file of files) sync(join(work, file));
  mkdirSync(directory, { recursive: true });
  for (const file of files) renameSync(join(work, file), join(directory, file));
  sync(directory);
}

function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Removes the folders of processes that were killed on this machine. Another machine may share the
 * cache.
 */
function removeLeftovers(cache: string): void {
  for (const entry of readdirSync(cache)) {
    const match = /^\.build-([0-9a-f]+)-(\d+)-/.exec(entry);
    if (match && match[1] === bootId() && !isAlive(Number(match[2]))) {
      try {
        rmSync(join(cache, entry), { recursive: true, force: true });
      } catch {
        // A program that the killed process had started still writes there, another process removes it
        // too, or it belongs to another user. A later one removes it.
      }
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
}
