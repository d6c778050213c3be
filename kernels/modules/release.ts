// The release of a kernel, as `uname -r` says it in the guest.
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { codeOf, messageOf } from '../../errors/index.js';
import { KernelError } from '../errors.js';

// The setup header of a bzImage: Documentation/arch/x86/boot.rst in the kernel's source.
const HEADER_MAGIC = 0x202;
const HDRS = 0x53726448;
const KERNEL_VERSION = 0x20e;
const KERNEL_VERSION_BASE = 0x200;
/** The setup code has at most 64 sectors. */
const SETUP_SIZE = 64 * 512;

/** @throws KernelError if the file cannot be read, or is no bzImage that says its release */
export function kernelRelease(path: string): string {
  const head = Buffer.alloc(SETUP_SIZE);
  let size: number;
  try {
    size = readHead(path, head);
  } catch (cause) {
    const why = codeOf(cause) === 'ENOENT' ? 'no such file' : messageOf(cause);
    throw new KernelError(`kernel ${path}: ${why}`, { cause });
  }
  const release = size < KERNEL_VERSION + 2 ? undefined : releaseOf(head.subarray(0, size));
  if (release === undefined) {
    throw new KernelError(`kernel ${path}: not a bzImage, which a kernel with modules must be`);
  }
  return release;
}

function readHead(path: string, head: Uint8Array): number {
  // Non-blocking: opening a FIFO would wait for a writer.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
}

function releaseOf(head: Buffer): string | undefined {
  if (head.readUInt32LE(HEADER_MAGIC) !== HDRS) return undefined;
  const start = KERNEL_VERSION_BASE + head.readUInt16LE(KERNEL_VERSION);
  const text = head.toString('latin1', start, Math.min(head.length, start + 256));
  return /^[\w.+~-]+(?=[ \0])/.exec(text)?.[0];
}
