// A kernel of User-Mode Linux is a program: an ELF file for this processor that names its loader.
import { BootFile } from '../../boot/boot-file.js';
import type { HostFiles } from '../../host/files.js';
import { MachineError } from '../../machine.js';

// ELF header and program headers (elf(5)).
const HEADER_SIZE = 64;
const MAGIC = 0x464c457f;
const CLASS_64 = 2;
const EM_X86_64 = 62;
const PROGRAM_HEADER_SIZE = 56;
const PT_INTERP = 3;
const MAX_PROGRAM_HEADERS = 64;

/** @throws MachineError `bad-kernel` unless the file is a program */
export function checkUmlKernel(path: string, files: HostFiles): void {
  using file = new BootFile('kernel', path, 'bad-kernel', files);
  if (!hasLoader(file)) {
    throw new MachineError(
      'bad-kernel',
      `kernel ${path}: not a kernel of User-Mode Linux, which is a program (tsvm kernel build uml)`,
    );
  }
}

function hasLoader(file: BootFile): boolean {
  if (file.size < HEADER_SIZE) return false;
  const header = read(file, 0, HEADER_SIZE);
  if (header.getUint32(0, true) !== MAGIC || header.getUint8(4) !== CLASS_64) return false;
  const size = header.getUint16(54, true);
  const count = header.getUint16(56, true);
  const start = header.getUint32(32, true) + header.getUint32(36, true) * 2 ** 32;
  if (header.getUint16(18, true) !== EM_X86_64 || size !== PROGRAM_HEADER_SIZE || count > MAX_PROGRAM_HEADERS) {
    return false;
  }
  const length = count * PROGRAM_HEADER_SIZE;
  if (start + length > file.size) return false;
  const headers = read(file, start, length);
  return Array.from({ length: count }, (_, index) => headers.getUint32(index * PROGRAM_HEADER_SIZE, true)).includes(
    PT_INTERP,
  );
}

function read(file: BootFile, position: number, length: number): DataView {
  const bytes = new Uint8Array(length);
  file.read(position, bytes);
  return new DataView(bytes.buffer);
}
