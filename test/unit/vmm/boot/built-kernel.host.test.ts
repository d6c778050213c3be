// The guest's built kernel in both formats, loaded and compared with what readelf and its headers
// say.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { kernelDirectory } from '../../../../kernels/index.js';
import { loadKernel } from '../../../../vmm/boot/index.js';
import { AllocatedMemory } from '../../../../vmm/host/memory.js';
import { MIB } from './kernel-images.js';

describe('the guest kernel', () => {
  const directory = kernelDirectory('guest');
  const path = (file: string) => join(directory ?? 'no guest kernel is built', file);

  test('as vmlinux is loaded at the addresses that readelf prints', () => {
    using memory = AllocatedMemory.allocate(256 * MIB);
    const kernel = loadKernel(memory, path('vmlinux'));
    const file = readFileSync(path('vmlinux'));
    const listing = execFileSync('readelf', ['-lW', path('vmlinux')], { encoding: 'utf8' });
    expect(kernel.entry).toBe(Number(/Entry point (0x[0-9a-f]+)/.exec(listing)?.[1]));
    const loads = listing.matchAll(/^ +LOAD +(0x\w+) 0x\w+ (0x\w+) (0x\w+) (0x\w+)/gm);
    const segments = Array.from(loads, ([, offset, address, fileSize, memorySize]) => ({
      offset: Number(offset),
      address: Number(address),
      fileSize: Number(fileSize),
      memorySize: Number(memorySize),
    }));
    expect(segments.length).toBeGreaterThan(1);
    for (const { offset, address, fileSize, memorySize } of segments) {
      expect(Buffer.compare(memory.bytes(address, fileSize), file.subarray(offset, offset + fileSize))).toBe(0);
      expect(memory.bytes(address + fileSize, memorySize - fileSize).every((byte) => byte === 0)).toBe(true);
      expect(kernel.end).toBeGreaterThanOrEqual(address + memorySize);
    }
  });

  test('as bzImage is loaded without its setup sectors, with room to unpack', () => {
    using memory = AllocatedMemory.allocate(256 * MIB);
    const kernel = loadKernel(memory, path('bzImage'));
    const file = readFileSync(path('bzImage'));
    const address = kernel.entry - 0x200;
    const body = file.subarray((file.readUInt8(0x1f1) + 1) * 512).subarray(0, file.readUInt32LE(0x1f4) * 16);
    expect(Buffer.compare(memory.bytes(address, body.length), body)).toBe(0);
    expect(kernel.end - address).toBe(file.readUInt32LE(0x260));
    expect(kernel.end - address).toBeGreaterThan(body.length);
  });
});
