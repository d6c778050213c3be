// The container's cgroup on the host: its paths, and the limits there.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { controlFiles, HostCgroup, hierarchies, hostLimits, pathIn } from '../../../oci/keeper/host-cgroup.js';

const HYBRID = [
  '30 24 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755',
  '31 30 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd',
  '32 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
  '33 30 0:28 /inner /elsewhere rw - cgroup cgroup rw,memory',
  '34 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
  '35 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate',
  '',
].join('\n');
const OWN = '5:name=systemd:/\n4:cpu,cpuacct:/\n3:memory:/own:with colon\n2:pids:/\n0::/slice\n';

test('the hierarchies are those that this process is in and that are mounted whole', () => {
  expect(hierarchies(OWN, HYBRID)).toEqual([
    { mount: '/sys/fs/cgroup/systemd', controllers: ['name=systemd'], own: '/' },
    { mount: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'], own: '/' },
    { mount: '/sys/fs/cgroup/memory', controllers: ['memory'], own: '/own:with colon' },
    { mount: '/sys/fs/cgroup/unified', controllers: undefined, own: '/slice' },
  ]);
  expect(hierarchies('', '')).toEqual([]);
});

test.each([
  ['/pod/one', '/cg/pod/one'],
  ['one', '/cg/own/one'],
  ['/../../../etc', '/cg/etc'],
  ['../../../etc', '/cg/own/etc'],
  ['a/../../b', '/cg/own/b'],
])('the path %s is %s in a hierarchy, and never outside of it', (path, expected) => {
  expect(pathIn({ mount: '/cg', controllers: undefined, own: '/own' }, path)).toBe(expected);
});

test('a container has a limit of memory on the host that holds its machine, and one CPU more than its own', () => {
  const machine = { memory: 192 * 2 ** 20, accel: 'kvm' } as const;
  const linux = {
    resources: { memory: { limit: 128 * 2 ** 20 }, cpu: { quota: 50_000, period: 100_000, shares: 1024 } },
  };
  const limits = hostLimits({ linux }, machine);
  expect(limits).toEqual({ memory: 472 * 2 ** 20, cpus: 0.5, shares: 1024 });
  expect(controlFiles(undefined, limits)).toEqual([
    ['memory.max', String(472 * 2 ** 20)],
    ['cpu.max', '150000 100000'],
    ['cpu.weight', '39'],
  ]);
  expect(controlFiles(['memory'], limits)).toEqual([['memory.limit_in_bytes', String(472 * 2 ** 20)]]);
  expect(controlFiles(['cpu', 'cpuacct'], limits)).toEqual([
    ['cpu.cfs_period_us', '100000'],
    ['cpu.cfs_quota_us', '150000'],
    ['cpu.shares', '1024'],
  ]);
  expect(controlFiles(['cpuset'], limits)).toEqual([]);
});

test('a container without limits has none on the host', () => {
  const limits = hostLimits({ linux: {} }, { memory: 2 ** 31, accel: 'auto' });
  expect(controlFiles(undefined, limits)).toEqual([
    ['memory.max', 'max'],
    ['cpu.max', 'max 100000'],
  ]);
  expect(controlFiles(['cpu'], limits)).toEqual([
    ['cpu.cfs_period_us', '100000'],
    ['cpu.cfs_quota_us', '-1'],
  ]);
});

test("a scope that systemd refuses may be another one's, which no `delete` is to end: the state has no name of it", async () => {
  const state = mkdtempSync(join(tmpdir(), 'tsvm-scope-'));
  onTestFinished(() => {
    vi.unstubAllEnvs();
    rmSync(state, { recursive: true });
  });
  // Nothing calls systemd.
  vi.stubEnv('PATH', state);
  const limits = { memory: undefined, cpus: undefined, shares: undefined };
  const started = HostCgroup.start({ unit: 'a-b.scope', slice: 'a.slice' }, limits, { state, name: 'b' });
  await expect(started).rejects.toThrow('systemd refuses a cgroup');
  expect(readdirSync(state)).toEqual([]);
});
