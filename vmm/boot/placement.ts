// Room in guest memory for what is booted: all of it below the hole, as the identity page tables reach no further.

import { type GuestMemory, HOLE_START } from '../host/memory.js';
import { MachineError } from '../machine.js';
import type { BootFile } from './boot-file.js';
import { HIGH_MEMORY_START } from './layout.js';

const MIB = 2 ** 20;

/** End of guest memory below the hole. */
export function lowMemoryEnd(memory: GuestMemory): number {
  const low = memory.regions.find((region) => region.guestAddress === 0);
  return low === undefined ? 0 : low.length;
}

/** The error of a machine whose memory ends before `needed`. Bytes. */
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
 * @throws MachineError of `file` where no machine has memory for it.
 */
export function checkKernelRange(file: BootFile, address: number, length: number): void {
  const end = address + length;
  // Written so that values beyond 2^53 fail too.
  if (!(address >= HIGH_MEMORY_START && end >= address && end <= HOLE_START && length <= 2 ** 30)) {
    throw file.error(`not a bootable kernel: it wants ${length} bytes at 0x${address.toString(16)}`);
  }
}

/** @throws MachineError `bad-spec` when memory ends before the kernel does. */
export function checkKernelFits(memory: GuestMemory, end: number): void {
  if (end > lowMemoryEnd(memory)) throw tooLittleMemory(memory, 'kernel', end);
}
