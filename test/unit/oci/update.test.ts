// Proves what an update of the limits means, and what the machine of a container cannot give.
import { describe, expect, test } from 'vitest';
import { limitWords, readUpdate, updatedLimits } from '../../../oci/config/update.js';

const SIZE = { memory: 2 ** 30, cpus: 1 };
const BEFORE = { memory: 2 ** 28, pids: 50, cpuQuota: 20_000, cpuPeriod: 50_000 };
const text = (given: object) => JSON.stringify({ words: {}, ...given });
const updated = (given: object, before: object = BEFORE) => updatedLimits(before, readUpdate(text(given)), SIZE);

test.each([
  ['nothing', {}, {}],
  [
    'zeros of engines',
    { resources: { memory: { limit: 0 }, cpu: { quota: 0, period: 0, cpus: '' }, pids: { limit: 0 } } },
    {},
  ],
  ['fields that are null', { resources: { memory: null, cpu: null, pids: null } }, {}],
  [
    'resources',
    { resources: { memory: { limit: 2 ** 29, swap: 1 }, pids: { limit: 77 } } },
    { memory: 2 ** 29, pids: 77 },
  ],
  ['a period alone', { resources: { cpu: { period: 40_000 } } }, { cpuPeriod: 40_000 }],
  [
    'words',
    { words: { memory: '512M', 'cpu-quota': '30000', 'pids-limit': '9' } },
    { memory: 2 ** 29, cpuQuota: 30_000, pids: 9 },
  ],
  [
    'words beside resources',
    { words: { memory: '1g' }, resources: { memory: { limit: 1 }, pids: { limit: 3 } } },
    { memory: 2 ** 30, pids: 3 },
  ],
  ['no limits', { words: { 'cpu-quota': '-1', 'pids-limit': '-1' } }, { cpuQuota: 0, pids: 0 }],
])('%s', (_, given, changed) => {
  expect(updated(given)).toEqual({ ...BEFORE, ...changed });
});

test('a container without limits stays one', () => {
  const none = { memory: 0, pids: 0, cpuQuota: 0, cpuPeriod: 100_000 };
  expect(updated({ words: { memory: '-1' } }, {})).toEqual(none);
  expect(limitWords(none)).toEqual(['memory.max', 'max', 'pids.max', 'max', 'cpu.max', 'max 100000']);
  expect(limitWords(BEFORE)).toEqual(['memory.max', '268435456', 'pids.max', '50', 'cpu.max', '20000 50000']);
});

test('more CPUs than the machine has, as the configuration gave them, are no reason to refuse other limits', () => {
  const before = { cpuQuota: 200_000 };
  const given = { resources: { cpu: { quota: 200_000, period: 100_000 }, pids: { limit: 7 } } };
  expect(updated(given, before)).toEqual({ memory: 0, pids: 7, cpuQuota: 200_000, cpuPeriod: 100_000 });
});

test('nor is more memory than the machine has', () => {
  const before = { ...BEFORE, memory: 2 ** 31 };
  const given = { resources: { memory: { limit: 2 ** 31 }, pids: { limit: 7 } } };
  expect(updated(given, before)).toEqual({ ...before, pids: 7 });
  expect(updated({ words: { 'pids-limit': '7' } }, before)).toEqual({ ...before, pids: 7 });
  expect(() => updated({ words: { memory: '1536m' } }, before)).toThrow('is above what the machine');
});

describe('refused in one line', () => {
  const machine = 'what the machine of the container has';
  test.each([
    [{ words: { memory: '2g' } }, `update: a memory limit of 2147483648 bytes is above ${machine}: 1073741824`],
    [
      { words: { memory: '-1' } },
      'update: the memory limit cannot be taken away: the machine of the container has its size',
    ],
    [{ resources: { cpu: { quota: 100_000 } } }, `update: a limit of 2 CPUs is above ${machine}: 1`],
    [{ words: { 'cpu-period': '1' } }, 'update: a CPU period is 1000 to 1000000 microseconds'],
    [{ words: { 'cpu-period': '1000' } }, `update: a limit of 20 CPUs is above ${machine}: 1`],
    [{ words: { 'cpu-quota': '999' } }, 'update: a CPU quota is at least 1000 microseconds'],
    [{ words: { 'pids-limit': '4194305' } }, 'update: a limit of processes is at most 4194304'],
    [{ words: { 'pids-limit': '1g' } }, 'update: --pids-limit 1g is not understood'],
    [{ words: { memory: 'much' } }, 'update: --memory much is not understood'],
    [{ words: { memory: '1bb' } }, 'update: --memory 1bb is not understood'],
    [{ words: { memory: '' } }, 'update: --memory  is not understood'],
    [{ words: { 'cpuset-cpus': '0' } }, 'resources.cpu.cpus is not supported'],
    [{ words: { 'cpu-rt-runtime': '5' } }, 'resources.cpu.realtimeRuntime is not supported'],
    [{ resources: { unified: { 'memory.high': '1' } } }, 'resources.unified is not supported'],
    [{ resources: { pids: { limit: 1.5 } } }, 'update: pids 1.5 is not understood'],
    [{ resources: { memory: { limit: 'x' } } }, /^update: resources\.memory\.limit: /],
    [{ resources: [] }, /^update: resources: /],
  ])('%j', (given, message) => {
    expect(() => updated(given)).toThrow(message);
  });

  test('what is no JSON', () => {
    expect(() => readUpdate('{"words":{},"resources":}')).toThrow('update: the resources are no JSON');
  });
});
