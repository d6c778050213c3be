// The limits of a machine's cgroup on disks of the host, from the rates of its devices, and which
// disk of the host a file is on.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blockDeviceOf, wholeDisk } from '../../../../sandbox/cgroup/block-device.js';
import { type IoUse, ioLimits } from '../../../../sandbox/cgroup/io-limits.js';

/** The disk of a path is its first folder; `/none` has none. */
const deviceOf = (path: string) => ({ sda: '8:0', sdb: '8:16' })[path.split('/')[1] ?? ''];

const image: IoUse = { path: '/sda/image', readOnly: true, rates: { readBytes: 1000, readOperations: 10 } };
const layer: IoUse = { path: '/sda/layer', readOnly: false, rates: { readBytes: 1000, writeBytes: 4000 } };
const free: IoUse = { path: '/sda/free', readOnly: false, rates: undefined };

test.each<[string, IoUse[], string[]]>([
  ['no rates give no limits', [free, { ...image, rates: undefined }], []],
  ['an image is not written', [image], ['8:0 rbps=1250 riops=40']],
  ['rates of devices on one disk add up', [image, layer], ['8:0 rbps=2500 wbps=5000']],
  ['a disk with something that has no rate has no limit', [image, layer, free], []],
  [
    'each disk has its own',
    [image, { ...layer, path: '/sdb/layer' }, { ...free, readOnly: true }],
    ['8:16 rbps=1250 wbps=5000'],
  ],
  ['a file system without a disk has none', [{ ...layer, path: '/none/layer' }], []],
  [
    'mounted folders have one rate together',
    ['one', 'two'].map((name) => ({ ...layer, path: `/sdb/${name}` })),
    ['8:16 rbps=1250 wbps=5000'],
  ],
])('%s', (_, uses, expected) => {
  expect(ioLimits(uses, deviceOf)).toEqual(expected);
});

describe('the disk of a file', () => {
  let sys: string;
  const add = (number: string, path: string, partition = false) => {
    mkdirSync(join(sys, path), { recursive: true });
    writeFileSync(join(sys, path, 'dev'), `${number}\n`);
    if (partition) writeFileSync(join(sys, path, 'partition'), '1\n');
    const link = join(sys, 'dev/block', number);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join('../..', path), link);
  };
  beforeAll(() => {
    sys = mkdtempSync('/tmp/tsvm-test-');
    add('8:0', 'devices/pci/block/sda');
    add('8:3', 'devices/pci/block/sda/sda3', true);
    add('253:7', 'devices/virtual/block/dm-7');
    add('259:300', 'devices/pci/block/nvme0n1');
    add('259:301', 'devices/pci/block/nvme0n1/nvme0n1p1', true);
  });
  afterAll(() => rmSync(sys, { recursive: true }));

  // makedev(3): 12 bits of the major number, 20 of the minor, in four pieces.
  const dev = (major: number, minor: number) => (minor % 256) + major * 256 + Math.floor(minor / 256) * 2 ** 20;

  test.each([
    ['a disk', dev(8, 0), '8:0'],
    ['a partition', dev(8, 3), '8:0'],
    ['a mapped device', dev(253, 7), '253:7'],
    ['a partition with a large number', dev(259, 301), '259:300'],
    ['a file system without a disk', dev(0, 45), undefined],
    ['a disk that sysfs does not show', dev(7, 7), undefined],
  ])('%s', (_, number, expected) => {
    expect(wholeDisk(number, sys)).toBe(expected);
  });

  test('a path that is not there has none', () => {
    expect(blockDeviceOf(join(sys, 'missing'))).toBeUndefined();
    expect(blockDeviceOf('/proc/self')).toBeUndefined();
  });
});
