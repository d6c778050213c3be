// The encoding of AML's terms, by the examples and limits of the specification.
import { expect, test } from 'vitest';
import { device, eisaId, integer, name, packageLength, scope, text } from '../../../../../vmm/boot/acpi/aml.js';

test.each([
  [0, [0x01]],
  [62, [0x3f]],
  [63, [0x41, 0x04]],
  [0xffd, [0x4f, 0xff]],
  [0xffe, [0x81, 0x00, 0x01]],
  [0xffffc, [0x8f, 0xff, 0xff]],
  [0xffffd, [0xc1, 0x00, 0x00, 0x01]],
  [0xffffffb, [0xcf, 0xff, 0xff, 0xff]],
])('a package of %i bytes has a length that includes itself', (contents, bytes) => {
  expect([...packageLength(contents)]).toEqual(bytes);
});

test('a package beyond 2^28 bytes has no length', () => {
  expect(() => packageLength(0xffffffc)).toThrow(RangeError);
});

test.each([
  [0, [0]],
  [1, [1]],
  [2, [0x0a, 2]],
  [0xff, [0x0a, 0xff]],
  [0x100, [0x0b, 0, 1]],
  [0x10000, [0x0c, 0, 0, 1, 0]],
  [0xffffffff, [0x0c, 0xff, 0xff, 0xff, 0xff]],
])('the integer %i takes the shortest form', (value, bytes) => {
  expect([...integer(value)]).toEqual(bytes);
});

test.each([-1, 1.5, 2 ** 32, Number.NaN])('%f is no integer of AML', (value) => {
  expect(() => integer(value)).toThrow(RangeError);
});

test('an EISA identifier is packed as ACPICA packs it', () => {
  expect([...eisaId('PNP0501')]).toEqual([0x0c, 0x41, 0xd0, 0x05, 0x01]);
  expect(() => eisaId('pnp0501')).toThrow(RangeError);
  expect(() => eisaId('PNP05012')).toThrow(RangeError);
});

test('names have four characters', () => {
  expect(Buffer.from(name('_UID', integer(1))).toString('latin1')).toBe('\x08_UID\x01');
  expect(Buffer.from(scope('_SB', [])).toString('latin1')).toBe('\x10\x06\\_SB_');
  expect(() => name('TOOLONG', integer(1))).toThrow(RangeError);
  expect(() => device('1ST', [])).toThrow(RangeError);
});

test('strings are ASCII without NUL', () => {
  expect(Buffer.from(text('LNRO0005')).toString('latin1')).toBe('\x0dLNRO0005\0');
  expect(() => text('é')).toThrow(RangeError);
  expect(() => text('a\0b')).toThrow(RangeError);
});
