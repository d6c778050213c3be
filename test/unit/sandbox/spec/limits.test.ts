// Limits are checked, and translated for the machine, the cgroup and the processes.
import { describe, expect, test } from 'vitest';
import {
  cgroupLimits,
  checkLimits,
  processLimits,
  resolveSysctls,
  shareRates,
  vcpuCount,
  withRates,
} from '../../../../sandbox/spec/limits.js';
import type { RunSpec } from '../../../../sandbox/spec/run-spec.js';

const spec = (fields: Partial<RunSpec>): RunSpec => ({ image: 'x', command: [], ...fields });

describe('CPUs', () => {
  test.each([
    [undefined, 1, undefined],
    [1, 1, undefined],
    [0.01, 1, 1000],
    [0.5, 1, 50_000],
    [1.5, 2, 150_000],
    [64, 64, undefined],
  ])('%s are %d vCPUs, and for a fraction a quota of %s microseconds', (cpus, count, quota) => {
    expect(vcpuCount(cpus)).toBe(count);
    expect(cgroupLimits(spec(cpus === undefined ? {} : { cpus })).cpuQuota).toBe(quota);
  });
});

describe('limits', () => {
  test.each<[Partial<RunSpec>, string]>([
    [{ cpus: 0.001 }, 'invalid number of CPUs 0.001'],
    [{ cpus: 65 }, 'invalid number of CPUs 65'],
    [{ cpus: Number.NaN }, 'invalid number of CPUs NaN'],
    [{ disk: 2 ** 24 - 1 }, 'invalid disk size'],
    [{ disk: 2 ** 44 + 1 }, 'invalid disk size'],
    [{ disk: 2 ** 24 + 0.5 }, 'invalid disk size'],
    [{ disk: Number.NaN }, 'invalid disk size'],
    [{ pidsLimit: 1.5 }, 'invalid pids limit 1.5'],
    [{ pidsLimit: -2 }, 'invalid pids limit -2'],
    [{ shmSize: 0 }, 'invalid size 0 of /dev/shm'],
    [{ groupAdd: [''] }, "invalid group ''"],
    [{ ulimits: [{ name: 'nofiles' as 'nofile', soft: 1, hard: 1 }] }, "invalid ulimit type 'nofiles'"],
    [{ ulimits: [{ name: 'core', soft: 2, hard: 1 }] }, 'the soft limit 2 is above the hard limit 1'],
    [{ ulimits: [{ name: 'core', soft: 'unlimited', hard: 1 }] }, 'the soft limit unlimited is above'],
    [{ ulimits: [{ name: 'core', soft: -3, hard: 1 }] }, '-3 is not a number from 0 on'],
    [{ capAdd: ['x'] }, 'unknown capability'],
    [{ deviceRates: [{ of: 'readBytes', rate: 0.5 }] }, 'invalid rate 0.5'],
    [{ sysctls: { 'kernel.msgmax': '\0' } }, "invalid value of sysctl 'kernel.msgmax'"],
  ])('%j are refused', (fields, message) => {
    expect(() => checkLimits(spec(fields))).toThrow(message);
  });

  test('of 0 and -1 processes are no limit', () => {
    for (const pidsLimit of [0, -1]) {
      checkLimits(spec({ pidsLimit }));
      expect(cgroupLimits(spec({ pidsLimit })).pids).toBeUndefined();
    }
  });

  test('of open files have a default, which a given limit replaces', () => {
    expect(processLimits(spec({})).rlimits).toEqual([{ name: 'nofile', soft: 1024, hard: 524_288 }]);
    const ulimits = [
      { name: 'core' as const, soft: 0, hard: 0 },
      { name: 'nofile' as const, soft: 7, hard: 8 },
    ];
    expect(processLimits(spec({ ulimits })).rlimits).toEqual([ulimits[1], ulimits[0]]);
  });
});

describe('rates of disks', () => {
  const disks = ['image', 'layer'].map((id) => ({ id, readOnly: true, extents: [] }));

  test('apply to the named disk, or to each disk; the last one wins', () => {
    const deviceRates = [
      { of: 'readBytes' as const, rate: 1 },
      { of: 'readBytes' as const, rate: 2, device: '/dev/vdb' },
      { of: 'writeOperations' as const, rate: 3, device: '/dev/vda' },
    ];
    expect(withRates(disks, spec({ deviceRates })).map(({ rates }) => rates)).toEqual([
      { readBytes: 1, writeOperations: 3 },
      { readBytes: 2 },
    ]);
    expect(withRates(disks, spec({}))).toEqual(disks);
  });

  test('apply to mounted folders and volumes by the name shares, or to each device', () => {
    const deviceRates = [
      { of: 'readBytes' as const, rate: 1 },
      { of: 'writeBytes' as const, rate: 2, device: 'shares' },
      { of: 'writeBytes' as const, rate: 3, device: '/dev/vda' },
    ];
    expect(shareRates(spec({ deviceRates }))).toEqual({ readBytes: 1, writeBytes: 2 });
    expect(withRates(disks, spec({ deviceRates })).map(({ rates }) => rates)).toEqual([
      { readBytes: 1, writeBytes: 3 },
      { readBytes: 1 },
    ]);
    expect(shareRates(spec({}))).toBeUndefined();
  });

  test('of one disk override those of all disks, in whatever order', () => {
    const one = { of: 'readBytes' as const, rate: 1, device: '/dev/vda' };
    const all = { of: 'readBytes' as const, rate: 2 };
    for (const deviceRates of [
      [one, all],
      [all, one],
    ]) {
      expect(withRates(disks, spec({ deviceRates })).map(({ rates }) => rates)).toEqual([
        { readBytes: 1 },
        { readBytes: 2 },
      ]);
    }
  });

  test('of a disk that does not exist are refused', () => {
    const deviceRates = [{ of: 'readBytes' as const, rate: 1, device: '/dev/sda' }];
    expect(() => withRates(disks, spec({ deviceRates }))).toThrow(
      "no such device '/dev/sda': the container's disks are /dev/vda, /dev/vdb",
    );
  });
});

describe('kernel parameters', () => {
  test.each([
    ['net.ipv4.ip_forward', 'net/ipv4/ip_forward'],
    ['net/ipv4/ip_forward', 'net/ipv4/ip_forward'],
    ['net.ipv4.conf.eth0/1.forwarding', 'net/ipv4/conf/eth0.1/forwarding'],
    ['net/ipv4/conf/eth0.1/forwarding', 'net/ipv4/conf/eth0.1/forwarding'],
  ])('named %s are the file %s', (name, path) => {
    expect(resolveSysctls({ [name]: '1' })).toEqual([{ path, value: '1' }]);
  });

  test.each([
    '',
    'kernel',
    '.',
    '..',
    'kernel/../x',
    'a..b',
    '/etc/passwd',
    'kernel.',
    'a b.c',
    'x/\0',
    `a.${'b'.repeat(255)}`,
  ])('named %j are refused', (name) => {
    expect(() => resolveSysctls({ [name]: '1' })).toThrow(`invalid sysctl '${name}'`);
  });
});
