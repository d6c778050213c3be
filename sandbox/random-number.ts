// Random numbers of the kernel itself. node:crypto takes a command a tenth of the time in which
// Node.js starts to load.
import { closeSync, openSync, readSync } from 'node:fs';

/** @throws Error if the kernel gives none */
export function randomBytesOfKernel(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  const device = openSync('/dev/urandom', 'r');
  try {
    if (readSync(device, bytes) !== count) throw new Error('/dev/urandom: a short read');
  } finally {
    closeSync(device);
  }
  return bytes;
}

/**
 * A random number of `least` to `end` - 1, which are at most 2^32 numbers. None is likelier than
 * another by more than 1 in 2^16.
 */
export function randomNumber(least: number, end: number): number {
  return least + (randomBytesOfKernel(6).readUIntBE(0, 6) % (end - least));
}
