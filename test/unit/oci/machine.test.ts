// Proves what a configuration says of its machine: the annotations, and the size that follows.
import { expect, test } from 'vitest';
import { machineResources, readMachine } from '../../../oci/config/machine.js';

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

const OVERHEAD = 160;

test.each([
  ['no limit', {}, 0, 1024, 1024 - OVERHEAD],
  ['no limit, and more above', {}, 0, 4096, 2048],
  ['a limit', {}, 800, 1024, 864],
  ['a limit that takes all', {}, 1024, 1024, 1024 - OVERHEAD],
  ['a size', { 'dev.tsvm.memory': '4g' }, 0, 1024, 1024 - OVERHEAD],
])('the machine of a container with %s fits into the cgroup above', (_, annotations, limit, above, size) => {
  const { memory, largestLimit } = readMachine({ annotations }, limit * MIB, above * MIB);
  expect({ memory, largestLimit }).toEqual({ memory: size * MIB, largestLimit: (size - 64) * MIB });
});

test('a cgroup above without room for a machine is refused', () => {
  const least = (OVERHEAD + 64) * MIB;
  expect(readMachine({}, 0, least + 1).memory).toBe(64 * MIB + 1);
  expect(() => readMachine({}, 0, least)).toThrow(
    `the cgroup above has ${least} bytes of memory: a machine needs more than ${least}`,
  );
});

test('annotations of others are ignored, and null', () => {
  expect(read({ 'dev.tsvm.of-tomorrow': 'x', 'dev.tsvm.accel': 'uml' })).toMatchObject({ accel: 'uml' });
  expect(readMachine({ annotations: null })).toMatchObject({ accel: 'auto' });
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

const SANDBOX = { 'io.kubernetes.cri.container-type': 'sandbox' };
const OWN = { memory: { limit: 7 }, cpu: { shares: 2 } };
const resources = (annotations: Record<string, string>) => machineResources({ annotations, linux: { resources: OWN } });

test('the machine of a pod has the resources of all its containers, not those of the first one', () => {
  const pod = { memory: '209715200', 'cpu-quota': '150000', 'cpu-period': '100000', 'cpu-shares': '512' };
  const given = Object.fromEntries(
    Object.entries(pod).map(([name, value]) => [`io.kubernetes.cri.sandbox-${name}`, value]),
  );
  expect(resources({ ...SANDBOX, ...given })).toEqual({
    memory: { limit: 200 * MIB },
    cpu: { quota: 150_000, period: 100_000, shares: 512 },
  });
  expect(resources(SANDBOX)).toEqual({ memory: { limit: 0 }, cpu: { quota: 0, period: 0, shares: 0 } });
  expect(readMachine({ annotations: SANDBOX }, 0).memory).toBe(2048 * MIB);
  expect(resources({ ...SANDBOX, 'io.kubernetes.cri.sandbox-cpu-quota': '-1' }).cpu).toMatchObject({ quota: -1 });
  // Other containers have their own, whatever they say of the pod.
  expect(resources({ ...given, 'io.kubernetes.cri.container-type': 'container' })).toEqual(OWN);
});

test.each(['', '1e9', '0x10', '9'.repeat(16), '1 '])('"%s" is no amount of memory of a pod', (memory) => {
  expect(() => resources({ ...SANDBOX, 'io.kubernetes.cri.sandbox-memory': memory })).toThrow(
    `annotation io.kubernetes.cri.sandbox-memory: ${memory} is not understood`,
  );
});
