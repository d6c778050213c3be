// The cache of the KVM probe's result: what it stores, and when a stored result does not count.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { storedProbe, storeProbe } from '../../../../sandbox/machine/probe-cache.js';
import type { ProbeResult } from '../../../../vmm/machine.js';

const found: ProbeResult = { usable: true, reason: 'found' };
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-probe-'));
  path = join(folder, 'cache', 'probe.json');
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a result is stored, and found the next time', () => {
  expect(storedProbe(path)).toBeUndefined();
  storeProbe(path, found);
  expect(storedProbe(path)).toEqual(found);
  expect(readdirSync(join(folder, 'cache'))).toEqual(['probe.json']);
});

test('a result of another boot or kernel does not count', () => {
  storeProbe(path, found);
  const kept = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...kept, host: 'another' }));
  expect(storedProbe(path)).toBeUndefined();
});

test.each(['', '{', 'null', '[]', '{"host":1}', '{"host":"x","result":{"usable":"yes"}}'])(
  'a file that contains %j is ignored and replaced',
  (content) => {
    storeProbe(path, found);
    writeFileSync(path, content);
    expect(storedProbe(path)).toBeUndefined();
    storeProbe(path, found);
    expect(storedProbe(path)).toEqual(found);
  },
);

test('a result that cannot be stored is lost without an error', () => {
  writeFileSync(join(folder, 'cache'), 'a file where the folder should be');
  storeProbe(path, found);
  expect(storedProbe(path)).toBeUndefined();
});
