// What a machine may use of the host follows from what its container may use.
import { expect, test } from 'vitest';
import { cgroupLimits, limitFiles } from '../../../../sandbox/cgroup/limits.js';

const MIB = 2 ** 20;

test('memory is that of the guest, an eighth of it, and a constant', () => {
  const size = { memory: 512 * MIB, cpus: 1, accel: 'kvm' as const };
  expect(cgroupLimits(size).memory).toBe((512 + 64 + 256) * MIB);
  expect(cgroupLimits({ ...size, memory: 64 * MIB }).memory).toBe((64 + 8 + 256) * MIB);
  expect(cgroupLimits({ ...size, memory: 2 ** 40 }).memory).toBe(2 ** 40 + 2 ** 37 + 256 * MIB);
});

test('a machine that may be emulated has memory for the emulator', () => {
  const size = { memory: 512 * MIB, cpus: 1 };
  const [kvm, emulated] = (['kvm', 'auto'] as const).map((accel) => cgroupLimits({ ...size, accel }).memory);
  expect(emulated).toBe(384 * MIB + (kvm ?? 0));
});

test('an odd size is a whole number of bytes', () => {
  const { memory } = cgroupLimits({ memory: 64 * MIB + 1, cpus: 1, accel: 'kvm' });
  expect(memory).toBe((64 + 8 + 256) * MIB + 2);
});

test.each([
  [0.01, 1.01, 1],
  [0.001, 1.001, 1],
  [0.25, 1.25, 25],
  [1, 2, 100],
  [1.5, 2.5, 150],
  [64, 65, 6400],
  [1000, 1001, 10_000],
])('%d CPUs of the guest are %d of the host, with that of the devices, and a weight of %d', (cpus, ofHost, weight) => {
  const { cpuQuota, cpuPeriod, cpuWeight } = cgroupLimits({ memory: 64 * MIB, cpus, accel: 'kvm' });
  expect(cpuQuota).toBe(Math.round(ofHost * cpuPeriod));
  expect(cpuWeight).toBe(weight);
});

test('the number of threads grows with the CPUs', () => {
  const pids = (cpus: number) => cgroupLimits({ memory: 64 * MIB, cpus, accel: 'kvm' }).pids;
  expect([pids(0.5), pids(1), pids(1.5), pids(64)]).toEqual([68, 68, 72, 320]);
});

test("User-Mode Linux has a process of the host for each of the guest's", () => {
  const pids = (accel: 'auto' | 'tcg' | 'uml') => cgroupLimits({ memory: 64 * MIB, cpus: 1, accel }).pids;
  expect([pids('tcg'), pids('uml'), pids('auto')]).toEqual([68, 4164, 4164]);
});

test('each limit is written to its file', () => {
  const limits = { memory: 1000, swap: 500, cpuQuota: 150_000, cpuPeriod: 100_000, cpuWeight: 50, pids: 68, io: [] };
  const disks = ['8:0 rbps=1', '8:16 wbps=2'];
  const lines = limitFiles({ ...limits, io: disks });
  expect(lines.filter(([file]) => file === 'io.max').map(([, line]) => line)).toEqual(disks);
  expect(Object.fromEntries(limitFiles(limits))).toEqual({
    'memory.max': '1000',
    'memory.swap.max': '500',
    'memory.oom.group': '1',
    'cpu.max': '150000 100000',
    'cpu.weight': '50',
    'pids.max': '68',
    'cgroup.max.descendants': '0',
  });
});
