// Proves that the process which keeps a machine ends with the last container of it, whatever is deleted.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { bundleProgram } from '../sandbox/home/bundle.js';

/** Keeps a machine for one container, until the connection of its stub closes. */
const KEEPER = `
  import { createServer, connect } from 'node:net';
  import { HostCgroup } from './oci/keeper/host-cgroup.ts';
  import { Pod } from './oci/keeper/pod.ts';
  const pod = new Pod({ accel: 'auto', memory: 2 ** 28, largestLimit: 2 ** 27 }, 'box', 2 ** 20);
  const limits = { memory: undefined, cpus: undefined, shares: undefined };
  const member = { cgroup: HostCgroup.make(undefined, limits, { state: '.', enters: false }), isLive: true };
  pod.add(member);
  const server = createServer((socket) => {
    pod.hold(socket);
    socket.on('close', () => {
      member.isLive = false;
      console.log(pod.endIfIdle());
    }).resume();
  });
  server.listen('socket', () => connect('socket').end());`;

test('a stub whose connection is the last one ends it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-pod-end-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  symlinkSync(fileURLToPath(new URL('../../../dist/machine.cjs', import.meta.url)), join(folder, 'machine.cjs'));
  const program = join(folder, 'keeper.cjs');
  const env = bundleProgram(KEEPER, program);
  const keeper = spawn(process.execPath, [program], { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void keeper.kill('SIGKILL'));
  const ended = once(keeper, 'exit');
  expect(await text(keeper.stdout)).toBe('true\n');
  expect(await ended).toEqual([0, null]);
});
