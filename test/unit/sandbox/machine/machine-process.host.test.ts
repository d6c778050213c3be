// A machine process is gone when it has closed its files, also if its launcher ended before.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A process that takes long to exit: it has much memory. */
const PROGRAM = `
  import { writeSync } from 'node:fs';
  const memory = Buffer.alloc(400 * 2 ** 20, 1);
  const times = { processStarted: 1, specReceived: 2, vcpusStarted: memory.at(-1) };
  writeSync(3, JSON.stringify({ type: 'booted', accel: 'kvm', times }) + '\\n');
  setInterval(() => {}, 1000);
`;

function openFiles(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

test.each([
  ['its launcher is killed', (it: MachineClient) => process.kill(it.groupPid!, 'SIGKILL')],
  ['its owner ends it', (it: MachineClient) => it[Symbol.dispose]()],
])('when %s', async (_, end) => {
  const program = join(folder, 'program.mjs');
  writeFileSync(program, PROGRAM);
  using it = new MachineClient({ program, jail: 'auto' });
  await it.booted;
  await it.firstJail;
  const launcher = it.groupPid!;
  const machine = it.pid!;
  expect(readFileSync(`/proc/${launcher}/task/${launcher}/children`, 'latin1')).toBe(`${machine} `);
  expect(openFiles(machine)).not.toEqual([]);
  end(it);
  await it.gone;
  expect(openFiles(machine)).toEqual([]);
});
