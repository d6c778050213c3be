// What is on the disk for good, also if the power fails.
import { closeSync, fsyncSync, openSync } from 'node:fs';

/** Writes a file out, or the names in a folder. */
export function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
