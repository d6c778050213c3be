// The smallest valid ELF vmlinux and bzImage, built field by field, and a folder to load them from.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const MIB = 2 ** 20;

/** A folder that is removed when the scope ends. `write` returns the new file's path. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'tsvm-boot-'));
  write(name: string, bytes: Uint8Array): string {
    const path = join(this.path, name);
    writeFileSync(path, bytes);
    return path;
  }
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}

export interface ElfSegment {
  type?: number;
  address: number;
  bytes: Uint8Array;
  memorySize?: number;
}

/** Returns an ELF executable with `segments`, whose bytes follow each other after the headers. */
export function makeElf(segments: ElfSegment[], entry = segments[0]?.address ?? 0): Buffer {
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(62, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(entry), 24);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(segments.length, 56);
  let offset = 64 + 56 * segments.length;
  const programHeaders = segments.map(({ type = 1, address, bytes, memorySize = bytes.length }) => {
    const header = Buffer.alloc(56);
    header.writeUInt32LE(type, 0);
    header.writeBigUInt64LE(BigInt(offset), 8);
    header.writeBigUInt64LE(BigInt.asUintN(64, 0xffffffff80000000n + BigInt(address)), 16);
    header.writeBigUInt64LE(BigInt(address), 24);
    header.writeBigUInt64LE(BigInt(bytes.length), 32);
    header.writeBigUInt64LE(BigInt(memorySize), 40);
    offset += bytes.length;
    return header;
  });
  return Buffer.concat([header, ...programHeaders, ...segments.map((segment) => segment.bytes)]);
}

export interface BzImageFields {
  setupSectors?: number;
  version?: number;
  xloadflags?: number;
  initrdMax?: number;
  prefAddress?: number;
  initSize?: number;
  kernel?: Uint8Array;
}

/** Returns a bzImage. `kernel` is its protected-mode part. */
export function makeBzImage({
  setupSectors = 3,
  version = 0x020f,
  xloadflags = 1,
  initrdMax = 0x7fffffff,
  prefAddress = MIB,
  initSize = MIB,
  kernel = Buffer.alloc(4096, 0x90),
}: BzImageFields = {}): Buffer {
  const setup = Buffer.alloc(((setupSectors || 4) + 1) * 512);
  setup[0x1f1] = setupSectors;
  setup.writeUInt32LE(Math.ceil(kernel.length / 16), 0x1f4);
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.writeUInt16LE(0x6aeb, 0x200);
  setup.write('HdrS', 0x202);
  setup.writeUInt16LE(version, 0x206);
  setup[0x211] = 1;
  setup.writeUInt32LE(initrdMax, 0x22c);
  setup.writeUInt16LE(xloadflags, 0x236);
  setup.writeBigUInt64LE(BigInt(prefAddress), 0x258);
  setup.writeUInt32LE(initSize, 0x260);
  return Buffer.concat([setup, kernel]);
}
