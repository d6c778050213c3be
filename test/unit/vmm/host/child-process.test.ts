// Proves that a child is signalled, and that its end is reported.
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type ChildEnd, ChildProcess } from '../../../../vmm/host/child-process.js';
import { EventLoop } from '../../../../vmm/host/event-loop.js';

class Shell {
  readonly loop = new EventLoop();
  readonly child: ChildProcess;
  output = '';
  end: ChildEnd | undefined;

  constructor(script: string) {
    this.child = new ChildProcess({
      program: '/bin/sh',
      args: ['-c', script],
      inherited: [],
      loop: this.loop,
      onOutput: (bytes) => {
        this.output += Buffer.from(bytes).toString('latin1');
      },
      onEnd: (end) => {
        this.end = end;
      },
    });
  }

  /** Runs the event loop, and never Node's. */
  until(done: () => unknown): void {
    while (!done()) this.loop.poll(100);
  }

  [Symbol.dispose](): void {
    this.child[Symbol.dispose]();
    this.loop[Symbol.dispose]();
  }
}

test('a child that has ended takes no more signals', () => {
  using shell = new Shell('exit 7');
  shell.until(() => shell.end);
  expect(shell.end).toMatchObject({ exitCode: 7, outcome: 'exit code 7' });
  shell.child.resume();
  shell.child.kill();
});

/** Returns true while a process runs: it is not gone, and no zombie. */
function runs(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

test('a child that runs is killed when it is disposed of', async () => {
  let pid = 0;
  {
    using shell = new Shell('echo $$; exec sleep 1000');
    shell.until(() => shell.output.endsWith('\n'));
    pid = Number(shell.output);
    expect(runs(pid)).toBe(true);
  }
  while (runs(pid)) await new Promise(setImmediate);
});

test('a child is suspended and resumed', () => {
  using shell = new Shell('echo $$; while :; do sleep 0.1; done');
  shell.until(() => shell.output.endsWith('\n'));
  const status = `/proc/${Number(shell.output)}/status`;
  shell.child.suspend();
  expect(readFileSync(status, 'latin1')).toMatch(/^State:\tT/m);
  shell.child.resume();
  expect(readFileSync(status, 'latin1')).not.toMatch(/^State:\tT/m);
  shell.child.kill();
  shell.until(() => shell.end);
  expect(shell.end).toMatchObject({ outcome: 'signal 9' });
});

test('the signal that ended a child is reported', () => {
  using shell = new Shell('kill -SEGV $$');
  shell.until(() => shell.end);
  expect(shell.end).toMatchObject({ exitCode: undefined, outcome: 'signal 11' });
});

test.each([
  ['echo $$; exec sleep 1000', 'SIGKILL', 'signal 9'],
  ["trap 'exit 3' TERM; echo $$; while :; do sleep 0.1; done", 'SIGTERM', 'exit code 3'],
] as const)('the end of a child that Node.js has reaped is reported: %s', async (script, signal, outcome) => {
  using shell = new Shell(script);
  shell.until(() => shell.output.endsWith('\n'));
  const pid = Number(shell.output);
  process.kill(pid, signal);
  while (existsSync(`/proc/${pid}`)) await new Promise(setImmediate);
  shell.until(() => shell.end);
  expect(shell.end?.outcome).toBe(outcome);
});
