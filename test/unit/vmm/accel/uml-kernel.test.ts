// Which files are taken for a kernel of User-Mode Linux.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkUmlKernel } from '../../../../vmm/accel/uml/kernel.js';
import { OWN_FILES } from '../../../../vmm/host/files.js';
import { fuzzing } from '../../../fixtures/fuzz.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-uml-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function check(bytes: Uint8Array): void {
  const path = join(folder, 'kernel');
  writeFileSync(path, bytes);
  checkUmlKernel(path, OWN_FILES);
}

/** An ELF file with program headers of these types. */
function elf(types: readonly number[], machine = 62): Buffer {
  const file = Buffer.alloc(64 + types.length * 56);
  file.writeUInt32BE(0x7f454c46, 0);
  file[4] = 2;
  file.writeUInt16LE(machine, 18);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(types.length, 56);
  for (const [index, type] of types.entries()) file.writeUInt32LE(type, 64 + index * 56);
  return file;
}

const [PT_LOAD, PT_INTERP] = [1, 3];

describe('a kernel of User-Mode Linux', () => {
  test('is a program with a loader', () => {
    expect(() => check(elf([PT_LOAD, PT_INTERP]))).not.toThrow();
    expect(() => checkUmlKernel(process.execPath, OWN_FILES)).not.toThrow();
  });

  test.each([
    ['a kernel for a machine', elf([PT_LOAD])],
    ['a program for another processor', elf([PT_INTERP], 183)],
    ['an empty file', Buffer.alloc(0)],
    ['a file that ends in its headers', elf([PT_LOAD, PT_INTERP]).subarray(0, 100)],
    ['text', Buffer.from('#!/bin/sh\n'.repeat(20))],
  ])('is not %s', (_, bytes) => {
    expect(() => check(bytes)).toThrow(/^kernel .*: not a kernel of User-Mode Linux/);
  });

  test('is refused in one line, whatever the bytes are', () => {
    const start = [...elf([PT_LOAD]).subarray(0, 64)];
    const bytes = fc.tuple(fc.array(fc.nat(63)), fc.uint8Array({ maxLength: 300 }));
    fc.assert(
      fc.property(bytes, ([kept, noise]) => {
        const file = Buffer.alloc(Math.max(64, noise.length));
        file.set(noise);
        for (const at of kept) file[at] = start[at] ?? 0;
        try {
          check(file);
        } catch (error) {
          expect(error).toMatchObject({ code: 'bad-kernel' });
        }
      }),
      fuzzing(300),
    );
  });
});
