// Reads ELF files (elf(5)) of 64-bit machines: kernel modules, and kernels that are programs.

const HEADER_SIZE = 64;
const SECTION_HEADER_SIZE = 64;
const SHT_NULL = 0;
const SHT_NOBITS = 8;

/** A section: the place of its header and of its contents in the file. */
interface Section {
  header: number;
  name: string;
  offset: number;
  /** Bytes in the file. */
  size: number;
}

/** The sections of a file, undefined if the bytes are no ELF file. Those outside the file are cut. */
function readSections(file: Buffer): Section[] | undefined {
  if (file.length < HEADER_SIZE || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2) return undefined;
  const table = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  if (file.readUInt16LE(58) !== SECTION_HEADER_SIZE || table + count * SECTION_HEADER_SIZE > file.length) {
    return undefined;
  }
  const sections = Array.from({ length: count }, (_, index) => {
    const header = table + index * SECTION_HEADER_SIZE;
    const isInFile = file.readUInt32LE(header + 4) !== SHT_NOBITS;
    const offset = Number(file.readBigUInt64LE(header + 24));
    return { header, name: '', offset, size: isInFile ? Number(file.readBigUInt64LE(header + 32)) : 0 };
  });
  const names = sections[file.readUInt16LE(62)];
  const text = names === undefined ? '' : contentsOf(file, names).toString('latin1');
  for (const section of sections) {
    const start = file.readUInt32LE(section.header);
    section.name = text.slice(start, text.indexOf('\0', start));
  }
  return sections;
}

function contentsOf(file: Buffer, { offset, size }: Section): Buffer {
  return file.subarray(offset, offset + size);
}

/** Contents of the section with a name; undefined if the bytes are no ELF file with such a section. */
export function findSection(file: Buffer, wanted: string): Buffer | undefined {
  const section = readSections(file)?.find(({ name }) => name === wanted);
  return section && contentsOf(file, section);
}

/** What a debugger reads, and what a linker would change in that. */
const DEBUG = /^\.(rela\.)?debug_/;
/** Of the contents of sections. */
const ALIGNMENT = 64;

/** The last bytes of a signed module (include/linux/module_signature.h). A change would break it. */
const SIGNED = Buffer.from('~Module signature appended~\n');

/**
 * A kernel module without what a debugger reads. The sections stay, so that the numbers by which
 * others name them do, but are empty. What is no module, or signed, is returned as it is.
 */
export function withoutDebug(file: Buffer): Buffer {
  if (file.subarray(-SIGNED.length).equals(SIGNED)) return file;
  const sections = readSections(file);
  if (sections === undefined || !sections.some(({ name }) => DEBUG.test(name))) return file;
  // Otherwise a small file could name itself many times.
  if (sections.reduce((sum, { size }) => sum + size, 0) > file.length) return file;
  const header = Buffer.from(file.subarray(0, HEADER_SIZE));
  const headers: Buffer[] = [];
  const pieces: Buffer[] = [header];
  let end = HEADER_SIZE;
  const append = (bytes: Buffer): number => {
    const gap = Buffer.alloc(-end & (ALIGNMENT - 1));
    pieces.push(gap, bytes);
    const offset = end + gap.length;
    end = offset + bytes.length;
    return offset;
  };
  for (const section of sections) {
    const of = Buffer.from(file.subarray(section.header, section.header + SECTION_HEADER_SIZE));
    if (DEBUG.test(section.name)) {
      of.writeUInt32LE(SHT_NULL, 4);
      of.writeBigUInt64LE(0n, 24);
      of.writeBigUInt64LE(0n, 32);
    } else {
      of.writeBigUInt64LE(BigInt(append(contentsOf(file, section))), 24);
    }
    headers.push(of);
  }
  header.writeBigUInt64LE(BigInt(append(Buffer.concat(headers))), 40);
  return Buffer.concat(pieces);
}
