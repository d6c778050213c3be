// Shared folders are passed to a machine process by a launcher of its own, which lives for
// milliseconds. One that is killed fails the start with one line, and leaves nothing behind.
import type { ChildProcess, spawn } from 'node:child_process';
import { constants, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { MachineFiles } from '../../../../sandbox/machine/machine-files.js';
import { MachineProcess } from '../../../../sandbox/machine/machine-process.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Stops at its start, so that it can be killed there. */
const STOPPED = ['/bin/sh', '-c', 'kill -STOP $$; exec "$@"', 'sh'];
const passers: ChildProcess[] = [];
vi.mock('node:child_process', async (original) => {
  const real = await original<{ spawn: typeof spawn }>();
  const wrapped = (command: string, words: string[], options: object) => {
    if (words[0] !== 'pass') return real.spawn(command, words, options);
    const [shell = '', ...others] = STOPPED;
    const passer = real.spawn(shell, [...others, command, ...words], options);
    passers.push(passer);
    return passer;
  };
  return { ...real, spawn: wrapped };
});

const PROGRAM = `
  import { Socket } from 'node:net';
  new Socket({ fd: 3 }).on('data', () => {});
`;

/** Of a process: `T` if it is stopped, undefined if it is gone. */
function stateOf(pid: number): string | undefined {
  try {
    return /\) (.)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
  } catch {
    return undefined;
  }
}

/** Other tests mount what is theirs. */
const mounts = () =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(folder));
const openFiles = () => readdirSync('/proc/self/fd').length;

test.each<[string, NodeJS.Signals, string | undefined]>([
  ['goes on', 'SIGCONT', undefined],
  [
    'is killed',
    'SIGKILL',
    'a folder of the host cannot be confined for the machine: the launcher of jails was ended by SIGKILL',
  ],
])('one that %s', async (_, signal, message) => {
  const program = join(folder, 'program.mjs');
  writeFileSync(program, PROGRAM);
  const before = { mounts: mounts(), files: openFiles() };
  let close = () => {};
  const closed = new Promise<void>((resolve) => {
    close = resolve;
  });
  const on = { onControl() {}, onStderr() {}, onControlEnd() {}, onExit() {}, onClose: () => close() };
  const needs = { hasShares: true, shares: [] };
  {
    using files = new MachineFiles();
    const shared = openSync(folder, constants.O_DIRECTORY);
    files.addTree('share', shared, false);
    using machine = new MachineProcess({ program, probes: false, needs, ...on, onError: close });
    const passing = machine.pass(files).then(
      () => undefined,
      (error: Error) => error,
    );
    while (passers.at(-1)?.pid === undefined || stateOf(passers.at(-1)?.pid ?? 0) !== 'T') {
      await new Promise(setImmediate);
    }
    const passer = passers.pop();
    passer?.kill(signal);
    const error = await passing;
    expect(error?.message).toBe(message);
    expect(stateOf(passer?.pid ?? 0)).toBeUndefined();
  }
  await closed;
  expect({ mounts: mounts(), files: openFiles() }).toEqual(before);
});
