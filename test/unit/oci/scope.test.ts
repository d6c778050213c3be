// The scope of systemd that an engine names: what is one, its properties, and where its cgroup is.
import { expect, test } from 'vitest';
import { cgroupOf, readScope } from '../../../oci/config/scope.js';
import { controlFiles, scopeProperties, unitPath } from '../../../oci/keeper/host-cgroup.js';

test.each([
  ['machine.slice:libpod:abc', 'libpod-abc.scope', 'machine.slice'],
  ['kubepods-burstable-pod1_2.slice:cri-containerd:7f', 'cri-containerd-7f.scope', 'kubepods-burstable-pod1_2.slice'],
  ['system.slice::abc', 'abc.scope', 'system.slice'],
  [':docker:abc', 'docker-abc.scope', 'system.slice'],
  ['-.slice:a:b', 'a-b.scope', '-.slice'],
  ['', 'tsvm-box.scope', 'system.slice'],
  [undefined, 'tsvm-box.scope', 'system.slice'],
])('%s is the scope %s', (path, unit, slice) => {
  expect(readScope(path, 'box')).toEqual({ unit, slice });
});

test.each(['/machine/libpod', 'machine.slice:libpod', 'a.slice:b:c:d'])(
  "%s is told to be wrong in runc's words",
  (path) => {
    const text = `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "${path}" instead`;
    expect(() => readScope(path, 'box')).toThrow(text);
  },
);

test.each([
  'a.slice:b:',
  'a/b.slice:b:c',
  '../a.slice:b:c',
  '--now.slice:b:c',
  'a.slice:-b:c',
  'a.slice:b:c d',
  'a.slice:b:c\n',
  'a.slice:b:c/../d',
  'a.slice:b:c.slice',
  `a.slice:b:${'c'.repeat(250)}`,
])('%j names nothing of systemd', (path) => {
  expect(() => readScope(path, 'box')).toThrow(/is no name of a (scope|slice) of systemd/);
});

test.each([
  ['machine.slice:libpod:abc', '/machine.slice/libpod-abc.scope'],
  ['a-b_c-d.slice:e:f', '/a.slice/a-b_c.slice/a-b_c-d.slice/e-f.scope'],
  ['-.slice:a:b', '/a-b.scope'],
])('%s has its cgroup at %s', (path, expected) => {
  expect(cgroupOf(readScope(path, 'box'))).toBe(expected);
});

test('systemd is told the limits that the runtime writes to the cgroup', () => {
  const scope = { unit: 'a-b.scope', slice: 'a.slice' };
  const bounded = { memory: 2 ** 28, cpus: 0.5, shares: 512 };
  const properties = (limits: Parameters<typeof scopeProperties>[2]) => {
    return Object.fromEntries(
      scopeProperties(scope, 'box', limits).map(([name, , ...values]) => [name, values.join()]),
    );
  };
  expect(properties(bounded)).toMatchObject({
    ...{ Slice: 'a.slice', Delegate: 'true', DefaultDependencies: 'false', CollectMode: 'inactive-or-failed' },
    ...{ MemoryMax: String(2 ** 28), CPUQuotaPerSecUSec: '1500000', CPUQuotaPeriodUSec: '100000', CPUWeight: '20' },
    TasksMax: '18446744073709551615',
  });
  expect(controlFiles(undefined, bounded)).toEqual([
    ['memory.max', String(2 ** 28)],
    ['cpu.max', '150000 100000'],
    ['cpu.weight', '20'],
  ]);
  const unbounded = properties({ memory: undefined, cpus: undefined, shares: undefined });
  expect(unbounded).toMatchObject({ MemoryMax: '18446744073709551615', CPUQuotaPerSecUSec: '18446744073709551615' });
  expect(unbounded).not.toHaveProperty('CPUWeight');
});

test.each([
  ['0::/machine.slice/a-b.scope\n', '/machine.slice/a-b.scope'],
  ['4:memory:/x\n1:name=systemd:/machine.slice/a-b.scope\n0::/machine.slice/a-b.scope\n', '/machine.slice/a-b.scope'],
  ['1:name=systemd:/machine.slice/a-b.scope\n0::/\n', '/machine.slice/a-b.scope'],
  ['9:name=systemd:/\n0::/machine.slice/a-b.scope\n', '/machine.slice/a-b.scope'],
  ['4:memory:/machine.slice/a-b.scope\n0::/user.slice\n', undefined],
  ['0::/machine.slice/other-a-b.scope\n', undefined],
  ['0::/a-b.scope/below\n', undefined],
  ['', undefined],
])('of a process in %j the scope has the path %s', (text, path) => {
  expect(unitPath(text, 'a-b.scope')).toBe(path);
});
