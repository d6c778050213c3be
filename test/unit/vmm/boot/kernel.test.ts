// Loading ELF and bzImage kernels: where they lie, and that malformed files are refused with one
// line.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { loadKernel } from '../../../../vmm/boot/index.js';
import { AllocatedMemory } from '../../../../vmm/host/memory.js';
import { MachineError } from '../../../../vmm/machine.js';
import { MIB, makeBzImage, makeElf, Scratch } from './kernel-images.js';

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const text = Buffer.alloc(5000, 'text');
const data = Buffer.alloc(300, 'data');

/**
 * Loads `file` into `size` bytes of memory. Returns the kernel, or the error's code and message.
 */
function load(file: Uint8Array, size = 16 * MIB) {
  using memory = AllocatedMemory.allocate(size);
  const path = scratch.write('kernel', file);
  try {
    return loadKernel(memory, path);
  } catch (error) {
    if (!(error instanceof MachineError)) throw error;
    expect(error.message).not.toContain('\n');
    return `${error.code}: ${error.message.replace(path, 'FILE')}`;
  }
}

describe('an ELF kernel', () => {
  const elf = makeElf([
    { address: 2 * MIB, bytes: text },
    { address: 3 * MIB, bytes: data, memorySize: 9000 },
    { type: 4, address: 0, bytes: Buffer.from('a note is not loaded') },
  ]);

  test('is loaded at its physical addresses', () => {
    using memory = AllocatedMemory.allocate(16 * MIB);
    const kernel = loadKernel(memory, scratch.write('elf', elf));
    expect(kernel).toEqual({ format: 'elf', entry: 2 * MIB, end: 3 * MIB + 12288, initramfsLimit: 16 * MIB });
    expect(Buffer.compare(memory.bytes(2 * MIB, text.length), text)).toBe(0);
    expect(Buffer.compare(memory.bytes(3 * MIB, data.length), data)).toBe(0);
    expect(memory.bytes(3 * MIB + data.length, 9000).every((byte) => byte === 0)).toBe(true);
    expect(memory.bytes(0, MIB).every((byte) => byte === 0)).toBe(true);
  });

  test('needs as much memory as its segments', () => {
    expect(load(elf, 2 * MIB)).toBe('bad-spec: 2M of memory is too little for this kernel, which needs more than 4M');
    expect(load(elf, MIB + 4096)).toMatch(/^bad-spec: 1028K of memory is too little/);
  });

  test.each([
    ['below 1 MiB', makeElf([{ address: 0x1000, bytes: text }]), /needs 5000 bytes at 0x1000/],
    ['in the hole below 4 GiB', makeElf([{ address: 0xc0000000, bytes: text }]), /needs 5000 bytes at 0xc0000000/],
    ['beyond 64 bits', makeElf([{ address: 2 ** 63, bytes: text }]), /needs 5000 bytes/],
    ['with an entry outside its segments', makeElf([{ address: MIB, bytes: text }], 8 * MIB), /entry point/],
    [
      'with overlapping segments',
      makeElf([
        { address: MIB, bytes: text },
        { address: MIB + 4096, bytes: data },
      ]),
      /overlapping/,
    ],
    [
      'with a segment larger in the file than in memory',
      makeElf([{ address: MIB, bytes: text, memorySize: 100 }]),
      /malformed/,
    ],
    ['cut short', elf.subarray(0, 2000), /truncated/],
    ['cut in its headers', elf.subarray(0, 100), /truncated/],
    ['of another machine', Buffer.from(elf).fill(40, 18, 19), /not a 64-bit x86 ELF/],
    ['of 32 bits', Buffer.from(elf).fill(1, 4, 5), /not a 64-bit x86 ELF/],
    ['that is a shared object', Buffer.from(elf).fill(3, 16, 17), /not an ELF executable/],
  ])('%s is refused', (_, file, message) => {
    expect(load(file)).toMatch(/^bad-kernel: kernel FILE: /);
    expect(load(file)).toMatch(message);
  });
});

describe('a bzImage', () => {
  const body = Buffer.alloc(20000, 'bzImage ');
  const image = makeBzImage({ kernel: body, prefAddress: 2 * MIB, initSize: 4 * MIB });

  test('is loaded at its preferred address, and its entry point is 0x200 above it', () => {
    using memory = AllocatedMemory.allocate(16 * MIB);
    const kernel = loadKernel(memory, scratch.write('bz', image));
    expect(kernel).toMatchObject({ format: 'bzimage', entry: 2 * MIB + 0x200, end: 6 * MIB, initramfsLimit: 16 * MIB });
    expect(Buffer.compare(memory.bytes(2 * MIB, body.length), body)).toBe(0);
    expect(Buffer.compare(kernel.setupHeader!, image.subarray(0x1f1, 0x26c))).toBe(0);
  });

  test('may have the default number of setup sectors', () => {
    expect(load(makeBzImage({ setupSectors: 0 }))).toMatchObject({ format: 'bzimage' });
  });

  test('limits the address of its initial RAM file system', () => {
    expect(load(makeBzImage({ initrdMax: 8 * MIB - 1 }))).toMatchObject({ initramfsLimit: 8 * MIB });
  });

  test('needs room to unpack itself', () => {
    expect(load(image, 5 * MIB)).toBe('bad-spec: 5M of memory is too little for this kernel, which needs more than 6M');
  });

  test.each([
    ['of an old protocol', makeBzImage({ version: 0x020b }), /boot protocol 2\.11, 2\.12 or newer is needed/],
    ['without a 64-bit entry', makeBzImage({ xloadflags: 0 }), /no 64-bit entry/],
    ['that needs an address beyond memory', makeBzImage({ prefAddress: 2 ** 40 }), /needs .* at 0x10000000000/],
    ['that needs the address of the boot data', makeBzImage({ prefAddress: 0x8000 }), /needs .* at 0x8000/],
    ['cut short', image.subarray(0, 9000), /truncated/],
    ['without a kernel', makeBzImage({ kernel: Buffer.alloc(0) }), /malformed/],
  ])('%s is refused', (_, file, message) => {
    expect(load(file)).toMatch(/^bad-kernel: kernel FILE: /);
    expect(load(file)).toMatch(message);
  });
});

describe('a file that is not a kernel', () => {
  test.each([
    ['an empty file', Buffer.alloc(0)],
    ['a text', Buffer.from('#!/bin/sh\necho hello\n')],
    ['zeroes', Buffer.alloc(100000)],
  ])('%s is refused', (_, file) => {
    expect(load(file)).toBe('bad-kernel: kernel FILE: not a kernel: neither an ELF vmlinux nor a bzImage');
  });

  test('a missing file, a directory and a device are refused', () => {
    using memory = AllocatedMemory.allocate(MIB);
    mkdirSync(join(scratch.path, 'directory'));
    const attempt = (path: string) => () => loadKernel(memory, path);
    expect(attempt(join(scratch.path, 'missing'))).toThrow(/^kernel \S+: no such file$/);
    expect(attempt(join(scratch.path, 'directory'))).toThrow(/: not a regular file$/);
    expect(attempt('/dev/zero')).toThrow(/: not a regular file$/);
  });
});

test('a kernel with random headers is loaded or refused', () => {
  const kernels = [
    makeElf([
      { address: 2 * MIB, bytes: text },
      { address: 3 * MIB, bytes: data },
    ]),
    makeBzImage(),
  ];
  const mutation = fc.record({
    at: fc.nat(0x270),
    value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
  });
  const property = fc.property(
    fc.constantFrom(...kernels),
    fc.array(mutation, { minLength: 1, maxLength: 12 }),
    fc.option(fc.nat(6000)),
    (kernel, mutations, cut) => {
      const file = Buffer.from(kernel.subarray(0, cut ?? undefined));
      for (const { at, value } of mutations) if (at < file.length) file[at] = value;
      const result = load(file);
      if (typeof result === 'string') expect(result).toMatch(/^bad-(kernel|spec): /);
      else expect(result.entry).toBeLessThan(16 * MIB);
    },
  );
  fc.assert(property, { numRuns: 1000 });
});
