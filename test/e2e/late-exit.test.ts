// Proves that what a sandbox used is free once it is closed, though the host ends its machine late.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Sandbox } from '../../sandbox/index.js';
import { EMPTY_IMAGE, makeEmptyImageHome } from '../fixtures/empty-image.js';

/** Holds a process for a second in the middle of its exit, when its files are still open. */
const HOLD = `
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **words)
{
	pid_t pid = count == 2 ? atoi(words[1]) : 0;
	int status;
	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEEXIT) != 0)
		return 1;
	write(1, "held", 4);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		if (status >> 16 == PTRACE_EVENT_EXIT) {
			sleep(1);
			return 0;
		}
		ptrace(PTRACE_CONT, pid, NULL, status >> 16 ? 0L : (long)WSTOPSIG(status));
	}
	return 2;
}`;

/** The process of the machine that this process has started. What the machine has started comes and goes. */
function machine(): number {
  // A process or thread may be gone.
  const orNone = <T>(read: () => T[]): T[] => {
    try {
      return read();
    } catch {
      return [];
    }
  };
  const words = (path: string, between: string) => readFileSync(path, 'utf8').split(between).filter(Boolean);
  const below = (pid: number): number[] =>
    orNone(() => readdirSync(`/proc/${pid}/task`)).flatMap((thread) =>
      orNone(() => words(`/proc/${pid}/task/${thread}/children`, ' ').map(Number)),
    );
  // The words of its launcher end with its own.
  const isMachine = (pid: number) => orNone(() => words(`/proc/${pid}/cmdline`, '\0'))[1]?.endsWith('/machine.cjs');
  const machines = (pid: number): number[] => (isMachine(pid) ? [pid] : below(pid).flatMap(machines));
  const found = machines(process.pid);
  expect(found).toHaveLength(1);
  return found[0] ?? 0;
}

test.each([false, true])(
  'an image can be removed once the sandbox that used it is closed: read-only %s',
  async (readOnly) => {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-late-exit-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const hold = join(folder, 'hold');
    execFileSync('gcc', ['-O2', '-x', 'c', '-', '-o', hold], { input: HOLD });
    using made = await makeEmptyImageHome();
    const { home } = made;
    const sandbox = await Sandbox.create(EMPTY_IMAGE, { home, readOnly, network: { mode: 'none' } });
    const holder = spawn(hold, [String(machine())], { stdio: ['ignore', 'pipe', 'inherit'] });
    const held = once(holder, 'exit');
    await once(holder.stdout, 'data');
    await sandbox.close();
    expect((await home.images.remove(EMPTY_IMAGE)).untagged).toEqual([EMPTY_IMAGE]);
    expect(await held).toEqual([0, null]);
  },
);
