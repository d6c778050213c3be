// Takes the ELF file out of a bzImage, whose own code would decompress it at each boot:
// Documentation/arch/x86/boot.rst in the kernel's source, "payload_offset". It is decompressed once,
// by the host.
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { execa } from 'execa';
import { findProgram } from '../programs/index.js';
import { decompressLz4 } from './lz4.js';

const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const BOOT_FLAG_MAGIC = 0xaa55;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_END = 0x250;
const SECTOR_SIZE = 512;
/** Debian's largest has 80 MiB. */
const MAX_KERNEL = 512 * 2 ** 20;

/** Decompressors by the first bytes of what they take, in hexadecimal. */
const FORMATS: Record<string, (payload: Buffer, size: number) => Promise<Uint8Array | undefined>> = {
  '1f8b': async (payload) => promisify(gunzip)(payload, { maxOutputLength: MAX_KERNEL }),
  // Linux's own size follows the data, and is no part of them.
  fd377a585a00: (payload) => byProgram('xz', payload.subarray(0, -4)),
  '28b52ffd': (payload) => byProgram('zstd', payload.subarray(0, -4)),
  '02214c18': async (payload, size) => decompressLz4(payload.subarray(0, -4), size),
};

/**
 * The ELF file in a bzImage. Undefined if it cannot be taken out: the bzImage boots all the same,
 * more slowly.
 */
export async function vmlinuxOf(bzImage: Buffer): Promise<Uint8Array | undefined> {
  if (bzImage.length < HEADER_END || bzImage.readUInt16LE(BOOT_FLAG) !== BOOT_FLAG_MAGIC) return undefined;
  const start = ((bzImage[SETUP_SECTS] || 4) + 1) * SECTOR_SIZE + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(PAYLOAD_LENGTH));
  const [, decompress] =
    Object.entries(FORMATS).find(([magic]) => payload.toString('hex', 0, 8).startsWith(magic)) ?? [];
  if (decompress === undefined) return undefined;
  const size = payload.readUInt32LE(payload.length - 4);
  if (size > MAX_KERNEL) return undefined;
  try {
    const kernel = await decompress(payload, size);
    return kernel?.[0] === 0x7f && Buffer.from(kernel.subarray(1, 4)).toString() === 'ELF' ? kernel : undefined;
  } catch {
    return undefined;
  }
}

async function byProgram(name: string, input: Uint8Array): Promise<Uint8Array | undefined> {
  const program = findProgram(name);
  if (program === undefined) return undefined;
  return (await execa(program, ['-dcq'], { input, encoding: 'buffer', maxBuffer: MAX_KERNEL })).stdout;
}
