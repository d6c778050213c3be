// The cache of the KVM probe's result: what it stores, and when a stored result does not count.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ProbeResult } from '../../../../vmm/machine.js';
import { cachedProbe } from '../../../../vmm/process/probe-cache.js';

const found: ProbeResult = { usable: true, reason: 'found' };
let folder: string;
let path: string;
let probes: number;
const probe = () => {
  probes++;
  return found;
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-probe-'));
  path = join(folder, 'cache', 'probe.json');
  probes = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a result is stored, and found the next time', () => {
  expect(cachedProbe(path, probe)).toEqual(found);
  expect(cachedProbe(path, probe)).toEqual(found);
  expect(probes).toBe(1);
  expect(readdirSync(join(folder, 'cache'))).toEqual(['probe.json']);
});

test('without a file, every call probes', () => {
  cachedProbe(undefined, probe);
  cachedProbe(undefined, probe);
  expect(probes).toBe(2);
});

test('a result of another boot or kernel does not count', () => {
  cachedProbe(path, probe);
  const kept = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...kept, host: 'another' }));
  cachedProbe(path, probe);
  expect(probes).toBe(2);
});

test.each(['', '{', 'null', '[]', '{"host":1}', '{"host":"x","result":{"usable":"yes"}}'])(
  'a file that contains %j is ignored and replaced',
  (content) => {
    cachedProbe(path, probe);
    writeFileSync(path, content);
    expect(cachedProbe(path, probe)).toEqual(found);
    expect(probes).toBe(2);
    expect(cachedProbe(path, probe)).toEqual(found);
    expect(probes).toBe(2);
  },
);

test('a result that cannot be stored is still returned', () => {
  writeFileSync(join(folder, 'cache'), 'a file where the folder should be');
  expect(cachedProbe(path, probe)).toEqual(found);
});
