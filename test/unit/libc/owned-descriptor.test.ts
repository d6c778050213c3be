// A descriptor is closed by its owner once, and never when its number is another's.
import { closeSync, fstatSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { OwnedDescriptor } from '../../../libc/owned-descriptor.js';

test('a second disposal does not close the file that has the number by then', () => {
  const first = openSync('/dev/null', 'r');
  const owned = new OwnedDescriptor(first);
  expect(owned.fd).toBe(first);
  owned[Symbol.dispose]();
  expect(owned.fd).toBeLessThan(0);
  const next = openSync('/dev/zero', 'r');
  expect(next).toBe(first);
  owned[Symbol.dispose]();
  expect(fstatSync(next).isCharacterDevice()).toBe(true);
  closeSync(next);
});

test('a descriptor that something else has closed is a fault', () => {
  const owned = new OwnedDescriptor(openSync('/dev/null', 'r'));
  closeSync(owned.fd);
  expect(() => owned[Symbol.dispose]()).toThrow(expect.objectContaining({ code: 'EBADF' }));
});
