// What a kernel is: its release, as `uname -r` says it in the guest, and how it reaches its devices.
import { closeSync, constants, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { codeOf, messageOf } from '../../errors/index.js';
import { KernelError } from '../errors.js';
import { findSection } from './elf.js';
import type { Transport } from './list.js';

// The setup header of a bzImage: Documentation/arch/x86/boot.rst in the kernel's source.
const HEADER_MAGIC = 0x202;
const HDRS = 0x53726448;
const KERNEL_VERSION = 0x20e;
const KERNEL_VERSION_BASE = 0x200;
/** The setup code has at most 64 sectors. */
const SETUP_SIZE = 64 * 512;

const ELF_MAGIC = 0x7f454c46;
/** What linux_banner (init/version.c in the kernel's source) begins with. */
const BANNER = 'Linux version ';

/** Debian's of User-Mode Linux, with its symbols, has 10 MB. */
const MAX_PROGRAM = 256 * 2 ** 20;

export interface KernelRelease {
  release: string;
  /** User-Mode Linux is a program, any other kernel a bzImage. */
  transport: Transport;
}

/** @throws KernelError if the file cannot be read, or is neither a bzImage nor User-Mode Linux */
export function kernelRelease(path: string): KernelRelease {
  let found: KernelRelease | undefined;
  try {
    found = readRelease(path);
  } catch (cause) {
    const why = codeOf(cause) === 'ENOENT' ? 'no such file' : messageOf(cause);
    throw new KernelError(`kernel ${path}: ${why}`, { cause });
  }
  if (found === undefined) {
    throw new KernelError(`kernel ${path}: neither a bzImage nor User-Mode Linux, which a kernel with modules must be`);
  }
  return found;
}

function readRelease(path: string): KernelRelease | undefined {
  // Non-blocking: opening a FIFO would wait for a writer.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const head = Buffer.alloc(SETUP_SIZE);
    const size = readSync(file, head, 0, head.length, 0);
    const ofImage = size < KERNEL_VERSION + 2 ? undefined : releaseOfImage(head.subarray(0, size));
    if (ofImage !== undefined) return { release: ofImage, transport: 'virtio_mmio' };
    if (head.readUInt32BE(0) !== ELF_MAGIC || fstatSync(file).size > MAX_PROGRAM) return undefined;
    const ofProgram = releaseOfProgram(readFileSync(file));
    return ofProgram === undefined ? undefined : { release: ofProgram, transport: 'virtio_uml' };
  } finally {
    closeSync(file);
  }
}

function releaseOfImage(head: Buffer): string | undefined {
  if (head.readUInt32LE(HEADER_MAGIC) !== HDRS) return undefined;
  const start = KERNEL_VERSION_BASE + head.readUInt16LE(KERNEL_VERSION);
  const text = head.toString('latin1', start, Math.min(head.length, start + 256));
  return /^[\w.+~-]+(?=[ \0])/.exec(text)?.[0];
}

/** A program names its loader. Its banner is among its constants. */
function releaseOfProgram(program: Buffer): string | undefined {
  if (findSection(program, '.interp') === undefined) return undefined;
  const start = program.indexOf(BANNER);
  if (start < 0) return undefined;
  const text = program.toString('latin1', start + BANNER.length, start + BANNER.length + 256);
  return /^[\w.+~-]+(?= \()/.exec(text)?.[0];
}
