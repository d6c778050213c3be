// Loads an ELF vmlinux: System V ABI, "Object Files" (ELF header) and "Program Loading" (program
// header).
import { type GuestMemory, PAGE_SIZE } from '../host/memory.js';
import type { BootFile } from './boot-file.js';
import type { LoadedKernel } from './loaded.js';
import { checkKernelFits, checkKernelRange, lowMemoryEnd } from './placement.js';
import { getUint64 } from './uint64.js';

const HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const EM_X86_64 = 62;
const PT_LOAD = 1;
/** A vmlinux has about five. The format's own limit is 65535. */
const MAX_PROGRAM_HEADERS = 256;

interface LoadSegment {
  offset: number;
  address: number;
  fileSize: number;
  memorySize: number;
}

function readSegments(file: BootFile, header: DataView): LoadSegment[] {
  const tableOffset = getUint64(header, 32);
  const entrySize = header.getUint16(54, true);
  const count = header.getUint16(56, true);
  if (entrySize !== PROGRAM_HEADER_SIZE || count > MAX_PROGRAM_HEADERS) {
    throw file.error('not a bootable kernel: malformed ELF program headers');
  }
  const table = new Uint8Array(count * PROGRAM_HEADER_SIZE);
  file.read(tableOffset, table);
  const segments: LoadSegment[] = [];
  for (let at = 0; at < table.length; at += PROGRAM_HEADER_SIZE) {
    const entry = new DataView(table.buffer, at, PROGRAM_HEADER_SIZE);
    if (entry.getUint32(0, true) !== PT_LOAD) continue;
    segments.push({
      offset: getUint64(entry, 8),
      address: getUint64(entry, 24),
      fileSize: getUint64(entry, 32),
      memorySize: getUint64(entry, 40),
    });
  }
  return segments.filter((segment) => segment.memorySize > 0).sort((a, b) => a.address - b.address);
}

/**
 * Loads each PT_LOAD segment of `file` at its physical address. Memory after a segment's file bytes
 * is not written: fresh guest memory is zero.
 * @param head the file's first bytes, at least 64
 * @throws MachineError `bad-kernel`, or `bad-spec` if memory is too small
 */
export function loadElf(memory: GuestMemory, file: BootFile, head: Uint8Array): LoadedKernel {
  const header = new DataView(head.buffer, head.byteOffset, HEADER_SIZE);
  if (head[4] !== ELFCLASS64 || head[5] !== ELFDATA2LSB || header.getUint16(18, true) !== EM_X86_64) {
    throw file.error('not a bootable kernel: not a 64-bit x86 ELF file');
  }
  if (header.getUint16(16, true) !== ET_EXEC) throw file.error('not a bootable kernel: not an ELF executable');
  const segments = readSegments(file, header);
  const entry = getUint64(header, 24);
  if (!segments.some(({ address, memorySize }) => entry >= address && entry < address + memorySize)) {
    throw file.error('not a bootable kernel: the entry point is in no segment');
  }
  let end = 0;
  for (const { address, fileSize, memorySize } of segments) {
    if (fileSize > memorySize || address < end) {
      throw file.error('not a bootable kernel: malformed or overlapping ELF segments');
    }
    checkKernelRange(file, address, memorySize);
    end = address + memorySize;
  }
  checkKernelFits(memory, end);
  for (const { offset, address, fileSize } of segments) file.read(offset, memory.bytes(address, fileSize));
  return {
    format: 'elf',
    entry,
    end: Math.ceil(end / PAGE_SIZE) * PAGE_SIZE,
    initramfsLimit: lowMemoryEnd(memory),
  };
}
