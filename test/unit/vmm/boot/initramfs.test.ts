// The placement of the initial RAM file system in guest memory.
import { afterAll, expect, test } from 'vitest';
import { loadInitramfs, loadKernel } from '../../../../vmm/boot/index.js';
import { AllocatedMemory } from '../../../../vmm/host/memory.js';
import { MachineError } from '../../../../vmm/machine.js';
import { MIB, makeBzImage, Scratch } from './kernel-images.js';

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const content = Buffer.alloc(5000, 'cpio');
const path = scratch.write('initramfs', content);
const kernelPath = scratch.write('kernel', makeBzImage());

test('is placed at the end of memory, page-aligned', () => {
  using memory = AllocatedMemory.allocate(16 * MIB);
  const initramfs = loadInitramfs(memory, [path], loadKernel(memory, kernelPath));
  expect(initramfs).toEqual({ address: 16 * MIB - 8192, size: 5000 });
  expect(Buffer.compare(memory.bytes(initramfs.address, initramfs.size), content)).toBe(0);
});

test("is placed below the hole and below the kernel's limit", () => {
  using memory = AllocatedMemory.allocate(5 * 2 ** 30);
  const kernel = loadKernel(memory, kernelPath);
  expect(loadInitramfs(memory, [path], kernel).address).toBe(0x80000000 - 8192);
  expect(loadInitramfs(memory, [path], { ...kernel, initramfsLimit: 0xc0000000 }).address).toBe(0xc0000000 - 8192);
});

test('does not overlap the kernel', () => {
  using memory = AllocatedMemory.allocate(2 * MIB + 8192);
  const kernel = loadKernel(memory, kernelPath);
  expect(loadInitramfs(memory, [path], kernel)).toEqual({ address: 2 * MIB, size: 5000 });
  const error = new MachineError(
    'bad-spec',
    '2056K of memory is too little for this kernel and initramfs, which needs more than 3M',
  );
  expect(() => loadInitramfs(memory, [scratch.write('larger', Buffer.alloc(9000))], kernel)).toThrow(error);
});

test('a file that is missing or empty is refused', () => {
  using memory = AllocatedMemory.allocate(16 * MIB);
  const kernel = loadKernel(memory, kernelPath);
  expect(() => loadInitramfs(memory, [`${path}-not`], kernel)).toThrow(/^initramfs \S+: no such file$/);
  expect(() => loadInitramfs(memory, [scratch.write('empty', Buffer.alloc(0))], kernel)).toThrow(/: empty$/);
});
