// A companion of a machine process runs once it is told to, in a jail or without one, and its end is
// reported whoever causes it.
import { closeSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Companion } from '../../../../sandbox/machine/companion.js';
import { createPipe } from '../../../../vmm/host/libc.js';

const PROCESSES = 16;

/** A shell as a companion, with its stdout and the pipe that starts it. */
class Shell implements Disposable {
  readonly companion: Companion;
  readonly #starter: number;
  readonly #stdout: number;
  #hasStarter = true;

  constructor(script: string, isJailed: boolean, descriptors: readonly number[] = []) {
    const [start, starter] = createPipe();
    const [stdout, write] = createPipe();
    const program = {
      name: 'dash',
      path: '/usr/bin/dash',
      args: ['-c', script],
      readable: ['/usr/bin'],
      processes: PROCESSES,
      complaint: 'no epoll',
    };
    this.companion = new Companion(program, { start, stdout: write, descriptors, isJailed });
    this.#starter = starter;
    this.#stdout = stdout;
    for (const fd of [start, write]) closeSync(fd);
  }

  start(): void {
    writeSync(this.#starter, '\n');
  }

  leave(): void {
    closeSync(this.#starter);
    this.#hasStarter = false;
  }

  /** Waits for some of its output. Empty at its end. */
  read(): string {
    const bytes = Buffer.alloc(4096);
    return bytes.toString('latin1', 0, readSync(this.#stdout, bytes));
  }

  [Symbol.dispose](): void {
    this.companion[Symbol.dispose]();
    if (this.#hasStarter) this.leave();
    closeSync(this.#stdout);
  }
}

/** Returns true while a process runs: it is not gone, and no zombie. */
function runs(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

/** The processes of a companion: its launcher, and the program. */
function processesOf({ pid }: Companion): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
  return [pid!, ...children];
}

const gone = async (pids: readonly number[]): Promise<void> => {
  while (pids.some(runs)) await new Promise(setImmediate);
};

describe.each([
  ['in a jail', true],
  ['without a jail', false],
])('%s', (_, isJailed) => {
  test('it runs once it is told to, and its exit code and last words are reported', async () => {
    using shell = new Shell('echo out; echo first >&2; echo last >&2; echo a: warning: b >&2; exit 7', isJailed);
    await shell.companion.report;
    expect(processesOf(shell.companion)).toHaveLength(isJailed ? 2 : 1);
    shell.start();
    expect(shell.read()).toBe('out\n');
    expect(await shell.companion.ended).toEqual({ exitCode: 7, outcome: 'exit code 7', said: 'last' });
    expect(shell.companion.pid).toBeUndefined();
    shell.companion.kill();
  });

  test.each([
    ['', ''],
    ['no memory\n', 'no memory'],
  ])('its complaint of a refused call is not its last words, with %j after it', async (words, said) => {
    using shell = new Shell(`printf 'no epollno epoll${words}' >&2; exit 3`, isJailed);
    shell.start();
    expect(await shell.companion.ended).toEqual({ exitCode: 3, outcome: 'exit code 3', said });
  });

  test('it never runs if the process that would start it leaves', async () => {
    using shell = new Shell('echo it runs', isJailed);
    shell.leave();
    expect(await shell.companion.ended).toMatchObject({ exitCode: isJailed ? 125 : 1 });
    expect(shell.read()).toBe('');
  });

  test('it has no more of its environment than it needs', async () => {
    using shell = new Shell('tr "\\0" "\\n" < /proc/$$/environ | cut -d= -f1 | xargs', isJailed);
    shell.start();
    await shell.companion.ended;
    expect(shell.read()).toBe(isJailed ? '\n' : 'PATH PWD\n');
  });

  test('it is killed when it is disposed of', async () => {
    let pids: number[] = [];
    {
      using shell = new Shell('echo $$; exec sleep 1000', isJailed);
      shell.start();
      shell.read();
      pids = processesOf(shell.companion);
    }
    await gone(pids);
  });

  test('whichever of its processes is killed, its end is reported, and the others end', async () => {
    for (const index of isJailed ? [0, 1] : [0]) {
      using shell = new Shell('echo $$; exec sleep 1000', isJailed);
      shell.start();
      shell.read();
      const pids = processesOf(shell.companion);
      process.kill(pids[index]!, 'SIGKILL');
      expect(await shell.companion.ended).toEqual({ outcome: 'signal 9', said: '' });
      await gone(pids);
    }
  });
});

test('in a jail it has no more processes than it may', async () => {
  // The shell and its launcher count too.
  for (const [count, time, end] of [
    [PROCESSES / 2, 0.5, { exitCode: 0 }],
    // None of them ends before the last one is asked for.
    [PROCESSES, 1000, { exitCode: 2, said: expect.stringMatching(/Cannot fork/) }],
  ] as const) {
    const pipeline = [`sleep ${time}`, ...Array(count - 1).fill('cat')].join(' | ');
    using shell = new Shell(`${pipeline}; exit`, true);
    shell.start();
    expect(await shell.companion.ended).toMatchObject(end);
  }
});

test('in a jail it has its own descriptors, without those that start it and report', async () => {
  const [fd] = createPipe();
  using shell = new Shell('ls -l /proc/self/fd | tail -n +2 | wc -l; readlink /proc/self/fd/4', true, [fd]);
  shell.start();
  await shell.companion.ended;
  // 0, 1, 2, the pipe, the file that holds its user, and the folder that ls reads.
  expect(shell.read().split('\n')).toEqual(['6', readlinkSync(`/proc/self/fd/${fd}`), '']);
  closeSync(fd);
});
