// Loads a bzImage for its 64-bit entry point: Documentation/arch/x86/boot.rst, "64-bit Boot
// Protocol".
import type { GuestMemory } from '../host/memory.js';
import type { BootFile } from './boot-file.js';
import type { LoadedKernel } from './loaded.js';
import { checkKernelFits, checkKernelRange, lowMemoryEnd } from './placement.js';
import * as header from './setup-header.js';
import { getUint64 } from './uint64.js';

const SECTOR_SIZE = 512;
/** Protocol 2.12 added `xloadflags`, which says whether there is a 64-bit entry point. */
const MIN_VERSION = 0x020c;
const ENTRY_OFFSET_64 = 0x200;

/** Returns true if the file's first bytes are the boot sector of a bzImage. */
export function isBzImage(head: DataView): boolean {
  return (
    head.byteLength >= header.SETUP_HEADER_END &&
    head.getUint16(header.BOOT_FLAG, true) === header.BOOT_FLAG_MAGIC &&
    head.getUint32(header.HEADER_MAGIC, true) === header.HDRS
  );
}

/**
 * Loads the protected-mode part of `file` at its preferred address.
 * @param head the file's first bytes, at least `SETUP_HEADER_END`
 * @throws MachineError `bad-kernel`, or `bad-spec` if memory is too small
 */
export function loadBzImage(memory: GuestMemory, file: BootFile, head: Uint8Array): LoadedKernel {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const version = view.getUint16(header.VERSION, true);
  if (version < MIN_VERSION) {
    const name = `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
    throw file.error(`not a bootable kernel: boot protocol ${name}, 2.12 or newer is needed`);
  }
  if (
    (view.getUint16(header.XLOADFLAGS, true) & header.XLF_KERNEL_64) === 0 ||
    (view.getUint8(header.LOADFLAGS) & header.LOADED_HIGH) === 0
  ) {
    throw file.error('not a bootable kernel: no 64-bit entry point');
  }
  const headerEnd = header.HEADER_MAGIC + view.getUint8(header.JUMP_DISPLACEMENT);
  if (headerEnd < header.INIT_SIZE + 4 || headerEnd > header.SETUP_HEADER_END) {
    throw file.error('not a bootable kernel: malformed setup header');
  }
  const setupSize = ((view.getUint8(header.SETUP_SECTS) || 4) + 1) * SECTOR_SIZE;
  const kernelSize = view.getUint32(header.SYSSIZE, true) * 16;
  const address = getUint64(view, header.PREF_ADDRESS);
  const initSize = view.getUint32(header.INIT_SIZE, true);
  if (kernelSize <= ENTRY_OFFSET_64) throw file.error('not a bootable kernel: malformed setup header');
  const end = address + Math.max(initSize, kernelSize);
  checkKernelRange(file, address, end - address);
  checkKernelFits(memory, end);
  file.read(setupSize, memory.bytes(address, kernelSize));
  return {
    format: 'bzimage',
    entry: address + ENTRY_OFFSET_64,
    end,
    setupHeader: head.slice(header.SETUP_HEADER, headerEnd),
    initramfsLimit: Math.min(lowMemoryEnd(memory), view.getUint32(header.INITRD_ADDR_MAX, true) + 1),
  };
}
