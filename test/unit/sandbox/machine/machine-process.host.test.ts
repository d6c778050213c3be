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
  ['its launcher is killed', (it: MachineClient) => process.kill(it.pid!, 'SIGKILL')],
  ['its owner ends it', (it: MachineClient) => it[Symbol.dispose]()],
])('when %s', async (_, end) => {
  const program = join(folder, 'program.mjs');
  writeFileSync(program, PROGRAM);
  using it = new MachineClient({ program, jail: 'auto' });
  await it.booted;
  const children = readFileSync(`/proc/${it.pid}/task/${it.pid}/children`, 'latin1').trim().split(' ').map(Number);
  expect(children).toHaveLength(1);
  expect(openFiles(children[0]!)).not.toEqual([]);
  end(it);
  await it.gone;
  expect(openFiles(children[0]!)).toEqual([]);
});
