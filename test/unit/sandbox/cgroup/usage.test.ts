// What a machine uses of the host, read from the files of its cgroup.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cgroupUsage } from '../../../../sandbox/cgroup/usage.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
});
afterEach(() => rmSync(folder, { recursive: true }));

const FILES = {
  'cpu.stat': 'usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnr_throttled 3\n',
  'memory.current': '104857600\n',
  'memory.stat': 'anon 1\nfile 2\ninactive_anon 7\ninactive_file 4857600\nactive_file 9\n',
  'pids.current': '17\n',
  'io.stat': '8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=5 dios=0\n7:0 rbytes=1 wbytes=2 rios=1 wios=1\n7:1 \n',
};

const write = (files: Record<string, string>) => {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
};

test('memory is without the page cache that can be dropped, and disks are summed', () => {
  write(FILES);
  expect(cgroupUsage(folder)).toEqual({
    cpu: 1234.567,
    memory: 100_000_000,
    pids: 17,
    disk: { read: 4097, written: 8194 },
  });
});

test('without a controller for disks their use is not known', () => {
  const { 'io.stat': _, ...others } = FILES;
  write(others);
  expect(cgroupUsage(folder)).toMatchObject({ memory: 100_000_000, disk: undefined });
});

test('more page cache than memory is no memory', () => {
  write({ ...FILES, 'memory.current': '100\n' });
  expect(cgroupUsage(folder)).toMatchObject({ memory: 0 });
});

test('a cgroup that is gone has no use', () => {
  expect(cgroupUsage(join(folder, 'gone'))).toBeUndefined();
});
