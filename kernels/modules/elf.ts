// Reads ELF files (elf(5)) of 64-bit machines: kernel modules, and kernels that are programs.

const HEADER_SIZE = 64;
const SECTION_HEADER_SIZE = 64;

/** Contents of the section with a name; undefined if the bytes are no ELF file with such a section. */
export function findSection(file: Buffer, wanted: string): Buffer | undefined {
  if (file.length < HEADER_SIZE || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2) return undefined;
  const table = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  if (file.readUInt16LE(58) !== SECTION_HEADER_SIZE || table + count * SECTION_HEADER_SIZE > file.length) {
    return undefined;
  }
  const contents = (index: number): Buffer => {
    const offset = Number(file.readBigUInt64LE(table + index * SECTION_HEADER_SIZE + 24));
    return file.subarray(offset, offset + Number(file.readBigUInt64LE(table + index * SECTION_HEADER_SIZE + 32)));
  };
  const names = file.readUInt16LE(62) < count ? contents(file.readUInt16LE(62)) : Buffer.alloc(0);
  for (let index = 0; index < count; index++) {
    const start = file.readUInt32LE(table + index * SECTION_HEADER_SIZE);
    if (names.toString('latin1', start, names.indexOf(0, start)) === wanted) return contents(index);
  }
  return undefined;
}
