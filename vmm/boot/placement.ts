// Room in guest memory for the kernel and its files. All of it is below the hole, because the
// identity page tables end there.

import { type GuestMemory, HOLE_START } from '../host/memory.js';
import { MachineError } from '../machine.js';
import type { BootFile } from './boot-file.js';
import { HIGH_MEMORY_START } from './layout.js';

const MIB = 2 ** 20;

/** Returns the end of guest memory below the hole. */
export function lowMemoryEnd(memory: GuestMemory): number {
  const low = memory.regions.find((region) => region.guestAddress === 0);
  return low === undefined ? 0 : low.length;
}

/** Returns the error of a machine whose memory ends before `needed` bytes. */
export function tooLittleMemory(memory: GuestMemory, what: string, needed: number): MachineError {
  const size = lowMemoryEnd(memory);
  const has = size % MIB === 0 ? `${size / MIB}M` : `${Math.floor(size / 1024)}K`;
  return new MachineError(
    'bad-spec',
    `${has} of memory is too little for this ${what}, which needs more than ${Math.ceil(needed / MIB)}M`,
  );
}

/**
 * Checks that a kernel may ask for `length` bytes at `address`.
 * @throws MachineError of `file` if no machine has memory there
 */
export function checkKernelRange(file: BootFile, address: number, length: number): void {
  const end = address + length;
  // The comparisons are written so that values beyond 2^53 fail too.
  if (!(address >= HIGH_MEMORY_START && end >= address && end <= HOLE_START && length <= 2 ** 30)) {
    throw file.error(`not a bootable kernel: it needs ${length} bytes at 0x${address.toString(16)}`);
  }
}

/** @throws MachineError `bad-spec` if memory ends before the kernel does */
export function checkKernelFits(memory: GuestMemory, end: number): void {
  if (end > lowMemoryEnd(memory)) throw tooLittleMemory(memory, 'kernel', end);
}
