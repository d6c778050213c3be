// `struct boot_params`, the "zero page", and what it points to: the command line and a random seed.
// Documentation/arch/x86/zero-page.rst and boot.rst.
import { randomBytes } from 'node:crypto';
import { type GuestMemory, PAGE_SIZE } from '../host/memory.js';
import {
  COMMAND_LINE_ADDRESS,
  CONVENTIONAL_MEMORY_END,
  HIGH_MEMORY_START,
  SEED_ADDRESS,
  ZERO_PAGE_ADDRESS,
} from './layout.js';
import type { LoadedInitramfs, LoadedKernel } from './loaded.js';
import * as header from './setup-header.js';
import { setUint64 } from './uint64.js';

const E820_RAM = 1;
const E820_RESERVED = 2;
const E820_ENTRY_SIZE = 20;
/** Protocol version of the header for an ELF kernel, which brings no header of its own. */
const PROTOCOL_VERSION = 0x020c;
const SETUP_RNG_SEED = 9;
const SETUP_DATA_HEADER_SIZE = 16;
const SEED_SIZE = 32;

interface E820Entry {
  address: number;
  length: number;
  type: number;
}

function memoryMap(memory: GuestMemory): E820Entry[] {
  const map: E820Entry[] = [
    { address: 0, length: CONVENTIONAL_MEMORY_END, type: E820_RAM },
    { address: CONVENTIONAL_MEMORY_END, length: HIGH_MEMORY_START - CONVENTIONAL_MEMORY_END, type: E820_RESERVED },
  ];
  for (const region of memory.regions) {
    const address = Math.max(region.guestAddress, HIGH_MEMORY_START);
    map.push({ address, length: region.guestAddress + region.length - address, type: E820_RAM });
  }
  return map;
}

/**
 * Writes a `setup_data` node that gives the kernel entropy, so that it can start without gathering
 * its own.
 */
function writeSeed(memory: GuestMemory): void {
  const node = memory.bytes(SEED_ADDRESS, SETUP_DATA_HEADER_SIZE + SEED_SIZE);
  const view = new DataView(node.buffer, node.byteOffset, node.byteLength);
  setUint64(view, 0, 0);
  view.setUint32(8, SETUP_RNG_SEED, true);
  view.setUint32(12, SEED_SIZE, true);
  node.set(randomBytes(SEED_SIZE), SETUP_DATA_HEADER_SIZE);
}

export interface ZeroPageSpec {
  kernel: LoadedKernel;
  initramfs?: LoadedInitramfs | undefined;
  /** A result of {@link joinCommandLine}. */
  commandLine: string;
  /** Address of ACPI's root pointer; 0: there is no ACPI. */
  rsdp: number;
}

/** Writes the zero page and returns its address. */
export function writeZeroPage(memory: GuestMemory, { kernel, initramfs, commandLine, rsdp }: ZeroPageSpec): number {
  const text = Buffer.from(`${commandLine}\0`, 'latin1');
  memory.bytes(COMMAND_LINE_ADDRESS, text.length).set(text);
  writeSeed(memory);

  const page = new Uint8Array(PAGE_SIZE);
  const view = new DataView(page.buffer);
  if (kernel.setupHeader === undefined) {
    view.setUint16(header.BOOT_FLAG, header.BOOT_FLAG_MAGIC, true);
    view.setUint32(header.HEADER_MAGIC, header.HDRS, true);
    view.setUint16(header.VERSION, PROTOCOL_VERSION, true);
    page[header.LOADFLAGS] = header.LOADED_HIGH;
  } else {
    page.set(kernel.setupHeader, header.SETUP_HEADER);
  }
  page[header.TYPE_OF_LOADER] = header.LOADER_UNDEFINED;
  view.setUint32(header.CMD_LINE_PTR, COMMAND_LINE_ADDRESS, true);
  view.setUint32(header.CMDLINE_SIZE, text.length - 1, true);
  if (initramfs !== undefined) {
    view.setUint32(header.RAMDISK_IMAGE, initramfs.address, true);
    view.setUint32(header.RAMDISK_SIZE, initramfs.size, true);
  }
  setUint64(view, header.SETUP_DATA, SEED_ADDRESS);
  setUint64(view, header.ACPI_RSDP_ADDRESS, rsdp);

  const map = memoryMap(memory);
  page[header.E820_ENTRIES] = map.length;
  for (const [index, { address, length, type }] of map.entries()) {
    const at = header.E820_TABLE + index * E820_ENTRY_SIZE;
    setUint64(view, at, address);
    setUint64(view, at + 8, length);
    view.setUint32(at + 16, type, true);
  }
  memory.bytes(ZERO_PAGE_ADDRESS, PAGE_SIZE).set(page);
  return ZERO_PAGE_ADDRESS;
}
