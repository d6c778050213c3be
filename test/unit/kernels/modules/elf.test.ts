// Sections of kernel modules: what is read of them, and what is left out.
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { findSection, withoutDebug } from '../../../../kernels/modules/elf.js';
import { moduleFile } from '../../../fixtures/kernel-files.js';

const SECTIONS = {
  '.text': 'code',
  '.debug_info': 'about the code '.repeat(100),
  '.rela.debug_info': 'what a linker changes in that',
  '.data': 'values',
};
const MODULE = moduleFile({ name: 'x' }, SECTIONS);

const sectionsOf = (file: Buffer) =>
  Object.fromEntries(
    ['.modinfo', ...Object.keys(SECTIONS), '.none'].map((name) => [name, findSection(file, name)?.toString('latin1')]),
  );

test('a module keeps its sections without what a debugger reads', () => {
  const made = withoutDebug(MODULE);
  expect(sectionsOf(made)).toEqual({ ...sectionsOf(MODULE), '.debug_info': '', '.rela.debug_info': '' });
  // Others name sections by their numbers.
  expect(made.readUInt16LE(60)).toBe(MODULE.readUInt16LE(60));
  expect(made.length).toBeLessThan(1000);
  expect(withoutDebug(made)).toEqual(made);
});

test('what has nothing of a debugger, is signed, or is no module, is left as it is', () => {
  const signed = Buffer.concat([MODULE, Buffer.from('signature~Module signature appended~\n')]);
  const plain = moduleFile({ name: 'x' }, { '.text': 'code' });
  for (const file of [plain, signed, Buffer.from('text'), Buffer.alloc(0)]) {
    expect(withoutDebug(file)).toBe(file);
  }
});

test('no file makes a larger one than it is, but for gaps between its sections', () => {
  const changes = fc.array(fc.tuple(fc.nat(MODULE.length - 1), fc.nat(255)), { maxLength: 8 });
  fc.assert(
    fc.property(changes, fc.nat(MODULE.length), (bytes, length) => {
      const file = Buffer.from(MODULE.subarray(0, length || undefined));
      for (const [at, value] of bytes) if (at < file.length) file[at] = value;
      const most = file.length + 64 * (Math.floor(file.length / 64) + 2);
      expect(withoutDebug(file).length).toBeLessThanOrEqual(most);
    }),
  );
});
