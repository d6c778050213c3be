// Descriptors of what the machine serves.
import { closeSync, openSync } from 'node:fs';
import { O_PATH } from '../../libc/openat2.js';

/** Opens all of them, or none. @throws Error of a system call */
export function openAll(paths: readonly string[], flags: number): number[] {
  const opened: number[] = [];
  try {
    for (const path of paths) opened.push(openSync(path, flags));
    return opened;
  } catch (error) {
    closeAll(opened);
    throw error;
  }
}

/** Further descriptors of the same files, links included. @throws Error of a system call */
export function openAgain(opened: readonly number[]): number[] {
  return openAll(
    opened.map((fd) => `/proc/self/fd/${fd}`),
    O_PATH,
  );
}

export function closeAll(opened: readonly number[]): void {
  for (const fd of opened) closeSync(fd);
}
