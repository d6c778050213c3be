// The zero page, read with the C compiler's layout of Linux's `struct boot_params`.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type LoadedKernel, writeBootState } from '../../../../vmm/boot/index.js';
import { AllocatedMemory, HOLE_END, HOLE_START } from '../../../../vmm/host/memory.js';
import { MIB, makeBzImage, Scratch } from './kernel-images.js';

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const GIB = 2 ** 30;
const elf: LoadedKernel = { format: 'elf', entry: 0x1000000, end: 0x2000000, initramfsLimit: 64 * MIB };
const initramfs = { address: 0x3000000, size: 12345 };

function view(memory: AllocatedMemory, address: number, length: number): DataView {
  const bytes = memory.bytes(address, length);
  return new DataView(bytes.buffer, bytes.byteOffset, length);
}

describe('the zero page', () => {
  const reader = join(scratch.path, 'boot-params');
  execFileSync('cc', ['-Wall', '-Werror', '-o', reader, join(import.meta.dirname, 'boot-params.c')]);
  const asKernelReads = (memory: AllocatedMemory, address: number) =>
    JSON.parse(execFileSync(reader, { input: memory.bytes(address, 4096), encoding: 'utf8' }));

  test('of an ELF kernel has command line, initial RAM file system and memory map', () => {
    using memory = AllocatedMemory.allocate(64 * MIB);
    const { rsi } = writeBootState(memory, { kernel: elf, initramfs, commandLine: 'console=ttyS0 quiet', cpus: 2 });
    const page = asKernelReads(memory, rsi);
    expect(page).toMatchObject({
      size: 4096,
      sentinel: 0,
      boot_flag: 0xaa55,
      header: 0x53726448,
      version: 0x020c,
      type_of_loader: 0xff,
      loadflags: 1,
      ramdisk_image: 0x3000000,
      ramdisk_size: 12345,
      cmdline_size: 19,
      e820: [
        { addr: 0, size: 0x9fc00, type: 1 },
        { addr: 0x9fc00, size: 0x60400, type: 2 },
        { addr: MIB, size: 63 * MIB, type: 1 },
      ],
    });
    expect(Buffer.from(memory.bytes(page.cmd_line_ptr, 20)).toString()).toBe('console=ttyS0 quiet\0');
  });

  test('lists the memory above the hole', () => {
    using memory = AllocatedMemory.allocate(5 * GIB);
    const { rsi } = writeBootState(memory, { kernel: elf, commandLine: '', cpus: 1 });
    expect(asKernelReads(memory, rsi).e820.slice(2)).toEqual([
      { addr: MIB, size: HOLE_START - MIB, type: 1 },
      { addr: HOLE_END, size: 2 * GIB, type: 1 },
    ]);
  });

  test("of a bzImage keeps the kernel's own header", () => {
    using memory = AllocatedMemory.allocate(64 * MIB);
    const image = makeBzImage({ version: 0x020f, prefAddress: 0x1000000, initSize: 0x555000 });
    const kernel: LoadedKernel = { ...elf, format: 'bzimage', setupHeader: image.subarray(0x1f1, 0x26c) };
    const { rsi } = writeBootState(memory, { kernel, initramfs, commandLine: '', cpus: 1 });
    expect(asKernelReads(memory, rsi)).toMatchObject({
      sentinel: 0,
      version: 0x020f,
      pref_address: 0x1000000,
      init_size: 0x555000,
      type_of_loader: 0xff,
      ramdisk_image: 0x3000000,
    });
  });

  test('points to a random seed, which differs from machine to machine', () => {
    const seed = () => {
      using memory = AllocatedMemory.allocate(64 * MIB);
      const { rsi } = writeBootState(memory, { kernel: elf, commandLine: '', cpus: 1 });
      const node = view(memory, asKernelReads(memory, rsi).setup_data, 48);
      // struct setup_data: next, type (SETUP_RNG_SEED), len.
      expect([node.getBigUint64(0, true), node.getUint32(8, true), node.getUint32(12, true)]).toEqual([0n, 9, 32]);
      return Buffer.from(node.buffer, node.byteOffset + 16, 32).toString('hex');
    };
    expect(seed()).not.toBe(seed());
  });
});
