// A single CPU runs code as another thread has just changed it, which docs/emulation.md promises of
// emulated ones too. Several emulated CPUs do not, and a start says so (run.test.ts).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEBIAN, fastest, tsvmRun } from './machine.js';

const SOURCE = fileURLToPath(new URL('../fixtures/guest-programs/changed-code.c', import.meta.url));

let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const flags = ['-O2', '-static', '-pthread', '-Wall', '-Wextra', '-Werror'];
  execFileSync('musl-gcc', [...flags, '-o', join(folder, 'changed-code'), SOURCE]);
});

afterAll(() => rmSync(folder, { recursive: true }));

describe.each(fastest)('on $name', (machine) => {
  test('one CPU runs what a thread has written, each time', async () => {
    const options = ['--cpus', '1', '--network', 'none', '-v', `${folder}:/programs:ro`];
    const { stdout } = await tsvmRun(machine, [...options, DEBIAN, '/programs/changed-code', '40']);
    expect(stdout).toBe('0 of 40 rounds ran old code\n');
  });
});
