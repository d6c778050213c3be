// Programs of an image are measured if the image has all that they need.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PROGRAMS, programsIn } from '../../../compare/programs.js';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

const add = (path: string) => {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), '');
};

test('an image has the programs whose files are all there, also by a link', () => {
  expect(programsIn(folder)).toEqual([]);
  add('/usr/bin/redis-server');
  add('/usr/bin/sh');
  expect(programsIn(folder)).toEqual([]);
  symlinkSync('usr/bin', join(folder, 'bin'));
  add('/usr/bin/redis-benchmark');
  add('/usr/bin/python3.11');
  symlinkSync('python3.11', join(folder, 'usr/bin/python3'));
  expect(programsIn(folder).map(({ name }) => name)).toEqual(['python', 'redis']);
});

test('each program has a name of its own', () => {
  expect(new Set(PROGRAMS.map(({ name }) => name)).size).toBe(PROGRAMS.length);
});
