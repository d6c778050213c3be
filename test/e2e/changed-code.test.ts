// A single CPU runs code as another thread has just changed it, which docs/emulation.md promises of
// emulated ones too. Several emulated CPUs do not, and a start says so (run.test.ts for `tsvm
// run`).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEBIAN, fastest, run, tsvmRun } from './machine.js';

const SOURCE = fileURLToPath(new URL('../fixtures/guest-programs/changed-code.c', import.meta.url));
const SDK = fileURLToPath(new URL('../../dist/sdk.js', import.meta.url));

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

  test("the SDK's start on several emulated CPUs is a warning of the process", async () => {
    const options = "{ cpus: 2, accel: 'tcg', network: { mode: 'none' } }";
    const program = [
      `import { Sandbox } from ${JSON.stringify(SDK)};`,
      'process.on("warning", ({ code }) => console.log(code));',
      `await (await Sandbox.create(${JSON.stringify(DEBIAN)}, ${options})).close();`,
    ].join('\n');
    const words = ['--no-warnings', '--input-type=module', '-e', program];
    const { code, stdout } = await run(machine, [process.execPath, ...words]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'TSVM_EMULATED_CPUS\n' });
  });
});
