// Proves that the deadline of a freeze does not pass while the host gives the machine no processor.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildSanitized } from './sanitized.js';

let directory: string;
let program: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'late-freeze-'));
  const sources = ['base/patience.c', 'container/freezer.c', 'protocol/failure.c'];
  program = buildSanitized(directory, 'late-freeze.c', sources, ['-Dpoll=late_poll']);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** @param waits of the agent, after which the last process has stopped */
function freeze(waits: number): string[] {
  writeFileSync(join(directory, 'cgroup.freeze'), '');
  writeFileSync(join(directory, 'cgroup.events'), 'populated 1\nfrozen 0\n');
  const said = execFileSync(program, [String(waits)], { cwd: directory, encoding: 'utf8' });
  return [said.trim(), readFileSync(join(directory, 'cgroup.freeze'), 'utf8')];
}

test('a machine that stood still for longer than the deadline is frozen', () => {
  expect(freeze(2)).toEqual(['frozen', '1']);
});

test('a process that does not stop is told of, and all others run again', () => {
  expect(freeze(1000)).toEqual(['Connection timed out', '0']);
});
