// Proves that SIGUSR1 opens no debugger in any of the programs.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const path = (name: string): string => fileURLToPath(new URL(`../../../${name}`, import.meta.url));

let home: string;
beforeAll(() => {
  home = mkdtempSync('/tmp/tsvm-test-');
});
afterAll(() => rmSync(home, { recursive: true }));

/** The sockets of a process that listen for TCP connections. */
function listening(pid: number): string[] {
  const rows = ['tcp', 'tcp6'].flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, 'latin1').split('\n'));
  const inodes = rows.map((row) => row.trim().split(/\s+/)).filter(([, , , state]) => state === '0A');
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return inodes.map((fields) => `socket:[${fields[9]}]`).filter((socket) => open.includes(socket));
}

/** Signals a process between questions that it answers. */
async function expectNoDebugger(child: ChildProcess, ask: () => Promise<unknown>): Promise<void> {
  const { pid = 0 } = child;
  try {
    let stderr = '';
    child.stderr?.on('data', (chunk) => {
      stderr += chunk;
    });
    await ask();
    for (let turn = 0; turn < 3; turn++) {
      process.kill(pid, 'SIGUSR1');
      await ask();
      expect(listening(pid)).toEqual([]);
    }
    expect(stderr).not.toContain('Debugger');
  } finally {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
}

test('in a machine process', async () => {
  const child = spawn(process.execPath, [path('dist/machine.cjs'), `${home}/probe.json`], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  const control = child.stdio[3] as Socket;
  await expectNoDebugger(child, async () => {
    control.write('{"type":"statistics"}\n');
    await once(control, 'data');
  });
});

test("in a container's supervisor", async () => {
  const child = spawn(process.execPath, [path('dist/supervisor.cjs')], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  // It has started its machine process.
  await expectNoDebugger(child, async () => {
    while (readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1') === '') {
      await new Promise(setImmediate);
    }
  });
});

test('in a command', async () => {
  const env = { ...process.env, TSVM_HOME: home };
  const child = spawn(path('bin/tsvm'), ['load'], { stdio: ['pipe', 'pipe', 'pipe'], env });
  child.stdin.on('error', () => {});
  await expectNoDebugger(child, async () => {
    // It has read what its pipe does not hold.
    if (!child.stdin.write(Buffer.alloc(2 ** 18))) await once(child.stdin, 'drain');
  });
});
