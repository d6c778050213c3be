// The processes of a machine stay on one processor, which is another one when that one is taken, and
// on the processors that others have given them.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { keepOnOneProcessor } from '../../../../sandbox/machine/one-processor.js';

/** Starts two programs that stay, and one after the other, for which it waits. */
const MACHINE = 'sleep 1000 & sleep 1000 & while :; do /bin/true; done';

const started: ChildProcess[] = [];
afterEach(() => {
  for (const { pid, exitCode } of started.splice(0)) if (exitCode === null) process.kill(-pid!, 'SIGKILL');
});

function start(command: string, ...words: string[]): number {
  const child = spawn(command, words, { detached: true, stdio: 'ignore' });
  started.push(child);
  return child.pid!;
}

const programOf = (pid: number) => ({ pid, pids: [pid], report: Promise.resolve(undefined) });

function startMachine(): number {
  const pid = start('sh', '-c', MACHINE);
  void keepOnOneProcessor(programOf(pid));
  return pid;
}

/** The processors that a process may run on, as a list; empty for one that has ended. */
function processorsOf(pid: number): string {
  try {
    return /^Cpus_allowed_list:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '';
  } catch {
    return '';
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
}

/** Waits until the machine is on one processor that `isWanted`, with the programs that stay. */
async function kept(pid: number, isWanted: (processor: string) => boolean = () => true): Promise<string> {
  for (;;) {
    const [first = '', ...others] = [pid, ...childrenOf(pid).slice(0, 2)].map(processorsOf);
    if (/^\d+$/.test(first) && others.length === 2 && others.every((each) => each === first) && isWanted(first)) {
      return first;
    }
    await setImmediate();
  }
}

test('the processes of a machine are on one processor, and leave it to one that cannot go elsewhere', async () => {
  const pid = startMachine();
  const first = await kept(pid);
  start('taskset', '-c', first, 'sh', '-c', 'while :; do :; done');
  await kept(pid, (processor) => processor !== first);
});

test('the processors that others choose for a machine stay the ones that it has', async () => {
  const pid = startMachine();
  const first = await kept(pid);
  const other = first === '0' ? '1' : '0';
  for (const each of [pid, ...childrenOf(pid)]) {
    try {
      execFileSync('taskset', ['-cp', other, String(each)], { stdio: 'ignore' });
    } catch {
      // It has ended.
    }
  }
  await kept(pid, (processor) => processor === other);
  start('taskset', '-c', other, 'sh', '-c', 'while :; do :; done');
  // Long enough for it to wait and be released.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect(processorsOf(pid)).toBe(other);
});

test('the end of a machine is the end of it', async () => {
  const pid = start('sleep', '0.1');
  await keepOnOneProcessor(programOf(pid));
  await keepOnOneProcessor({ ...programOf(pid), pid: undefined, pids: [] });
});
