// Proves what a configuration says of its machine: the annotations, and the size that follows.
import { expect, test } from 'vitest';
import { readMachine } from '../../../oci/config/machine.js';

const MIB = 2 ** 20;
const read = (annotations: Record<string, string>, limit = 0) => readMachine({ annotations }, limit * MIB);

test.each([
  ['no limit', {}, 0, 2048],
  ['a limit', {}, 100, 164],
  ['a size', { 'dev.tsvm.memory': '4g' }, 0, 4160],
  ['a size above the limit', { 'dev.tsvm.memory': '200M' }, 100, 264],
  ['a size in bytes', { 'dev.tsvm.memory': '104857600' }, 100, 164],
])('the machine of a container with %s is that and 64 MiB, or 2 GiB', (_, annotations, limit, size) => {
  const none = { accel: 'auto', memory: size * MIB, largestLimit: (size - 64) * MIB };
  expect(read(annotations, limit)).toEqual(none);
});

test('annotations of others are ignored, and null', () => {
  expect(read({ 'dev.tsvm.of-tomorrow': 'x', 'dev.tsvm.accel': 'uml' })).toMatchObject({ accel: 'uml' });
  expect(readMachine({ annotations: null }, 0)).toMatchObject({ accel: 'auto' });
});

test.each([
  ['dev.tsvm.accel', 'warp', ': use auto, kvm, tcg or uml'],
  ['dev.tsvm.memory', '', ': use a size, as 512m or 4g'],
  ['dev.tsvm.memory', '0', ': use a size, as 512m or 4g'],
  ['dev.tsvm.memory', '-1', ': use a size, as 512m or 4g'],
  ['dev.tsvm.memory', '1e3', ': use a size, as 512m or 4g'],
  ['dev.tsvm.memory', '999999999999999g', ': use a size, as 512m or 4g'],
  ['dev.tsvm.memory', '99m', ' is below the memory limit of the container: 104857600'],
])('%s: "%s" is refused', (name, value, reason) => {
  expect(() => read({ [name]: value }, 100)).toThrow(`annotation ${name}: ${value}${reason}`);
});
