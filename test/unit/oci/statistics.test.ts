// Proves the statistics of a container: runc's shape, and nothing that a hostile guest makes too long or no number.
import { expect, test } from 'vitest';
import { readEvents } from '../../../oci/config/events.js';
import { parseStatistics } from '../../../oci/keeper/statistics.js';

const answer = (files: Record<string, string>) =>
  Buffer.from(
    Object.entries(files)
      .flatMap((entry) => entry.map((text) => `${text}\0`))
      .join(''),
  );

test('the files of the cgroup become what runc prints', () => {
  const { data, oomKills } = parseStatistics(
    answer({
      'cpu.stat': 'usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\n',
      'memory.current': '5000\n',
      'memory.max': '64000\n',
      'memory.peak': '9000\n',
      'memory.stat': 'anon 100\nfile 200\nsock 5\n',
      'memory.events': 'low 0\nmax 4\noom 1\noom_kill 2\n',
      'pids.current': '6\n',
      'pids.max': 'max\n',
      'io.stat': '254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n',
      'net/dev': `    lo: ${'9 '.repeat(16).trim()}\n  eth0: ${[...Array(16).keys()].join(' ')}\n`,
    }),
  );
  expect(oomKills).toBe(2);
  expect(data).toEqual({
    cpu: {
      usage: { total: 30_000, kernel: 10_000, user: 20_000 },
      throttling: { periods: 3, throttledPeriods: 2, throttledTime: 7000 },
    },
    cpuset: expect.any(Object),
    memory: {
      cache: 200,
      usage: { limit: 64_000, usage: 5000, max: 9000, failcnt: 4 },
      swap: { limit: 0, failcnt: 0 },
      kernel: { limit: 0, failcnt: 0 },
      kernelTCP: { limit: 0, failcnt: 0, usage: 5 },
      raw: { anon: 100, file: 200, sock: 5 },
    },
    pids: { current: 6, limit: 0 },
    blkio: {
      ioServiceBytesRecursive: [
        { major: 254, minor: 0, op: 'Read', value: 1 },
        { major: 254, minor: 0, op: 'Write', value: 2 },
      ],
      ioServicedRecursive: [
        { major: 254, minor: 0, op: 'Read', value: 3 },
        { major: 254, minor: 0, op: 'Write', value: 4 },
      ],
    },
    hugetlb: {},
    intel_rdt: {},
    network_interfaces: [
      {
        ...{ Name: 'eth0', RxBytes: 0, RxPackets: 1, RxErrors: 2, RxDropped: 3 },
        ...{ TxBytes: 8, TxPackets: 9, TxErrors: 10, TxDropped: 11 },
      },
    ],
  });
});

test('without a limit, the memory of the machine is the limit', () => {
  const { data } = parseStatistics(answer({ 'memory.max': 'max\n', meminfo: 'MemTotal:     100 kB\nMemFree: 5 kB\n' }));
  expect(data).toMatchObject({ memory: { usage: { limit: 102_400, usage: 0 } }, network_interfaces: null, blkio: {} });
});

test.each([
  ['nothing', ''],
  ['no NUL', 'cpu.stat'],
  ['names without contents', 'cpu.stat\0memory.stat\0io.stat\0'],
  ['numbers that no number holds', `cpu.stat\0usage_usec ${'9'.repeat(400)}\n\0memory.current\0-1e999\n\0`],
  ['many lines', `memory.stat\0${Array.from({ length: 9999 }, (_, i) => `n${i} ${'9'.repeat(15)}\n`).join('')}\0`],
  ['many devices', `io.stat\0${'254:0 rbytes=999999999999999\n'.repeat(9999)}\0`],
  ['many interfaces', `net/dev\0${`e: ${'999999999999999 '.repeat(15)}1\n`.repeat(999)}\0`],
])('a guest that answers with %s gets a short line', (_, text) => {
  const { data, oomKills } = parseStatistics(Buffer.from(text));
  expect(oomKills).toBe(0);
  const line = JSON.stringify(data);
  expect(line.length).toBeLessThan(12_000);
  expect(line).not.toMatch(/null,"|NaN|e\+/);
});

test.each([
  [undefined, 5000],
  ['5s', 5000],
  ['1m30s', 90_000],
  ['1.5s', 1500],
  ['1ms', 100],
  ['99999999h', 2 ** 31 - 1],
])('the interval %s is %i ms', (interval, milliseconds) => {
  expect(readEvents(JSON.stringify({ stats: false, interval })).interval).toBe(milliseconds);
});

test.each(['', '0s', '5', '-1s', 's', '1d'])('the interval "%s" is refused', (interval) => {
  expect(() => readEvents(JSON.stringify({ stats: true, interval }))).toThrow(/^events: --interval /);
});
