// The filter of system calls of a machine process is as short as it is, and yet nothing that a guest or the
// host may bring about needs another call: rare errors, a device that is reset, an engine that is short of
// memory, a process that is stopped.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundle } from '../../../kvm/guest.js';

/** V8 is soon short of memory, and the scenes need less. */
const HEAP = '--max-old-space-size=150';

let folder: string;
let programs: URL;
let scenes = 0;
beforeAll(async () => {
  folder = mkdtempSync('/tmp/tsvm-filtered-');
  programs = await bundle('filtered', { filtered: 'test/unit/vmm/accel/filtered.ts' });
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  rmSync(programs, { recursive: true });
});

/** The file system that the scene's folder is on. */
interface Place {
  type: 'ramfs' | 'tmpfs' | 'none';
  options?: string;
}

/**
 * Runs a scene in a mount namespace of its own, and stops it for a moment when it asks for that. Its
 * stderr has no reader unless it is heard.
 */
async function run(scene: string, { type, options = 'mode=700' }: Place = { type: 'none' }, isHeard = false) {
  const own = join(folder, `${scenes++}`);
  mkdirSync(own);
  const mount = type === 'none' ? '' : `mount -t ${type} -o ${options} none ${own} && `;
  const program = new URL('filtered.js', programs).pathname;
  const script = `${mount}exec "$0" "$@"`;
  const words = ['-m', '--propagation', 'private', 'sh', '-c', script, process.execPath, HEAP, program, scene, own];
  const child = spawn('unshare', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let error = '';
  if (isHeard) child.stderr.setEncoding('utf8').on('data', (text) => (error += text));
  else child.stderr.destroy();
  let said = '';
  child.stdout.setEncoding('utf8').on('data', async (text) => {
    said += text;
    if (text !== 'stop me\n') return;
    for (let turn = 0; turn < 5; turn++) {
      child.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, 50));
      child.kill('SIGCONT');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, said, error };
}

test.each<[string, Place?]>([
  ['runtime'],
  ['disk', { type: 'ramfs' }],
  ['disk', { type: 'tmpfs' }],
  ['disk'],
  ['full', { type: 'tmpfs', options: 'size=300k' }],
  ['balloon'],
  ['vsock'],
  ['members'],
  ['files'],
  ['files of users'],
  ['fixed arguments'],
])('%s %o', async (scene, place) => {
  const { code, signal, said } = await run(scene, place);
  expect({ code, signal, said: said.replace('stop me\n', '') }).toEqual({ code: 0, signal: null, said: 'done\n' });
});

test('a call that is not on the list ends the process', async () => {
  expect(await run('control')).toMatchObject({ code: null, signal: 'SIGSYS', said: '' });
});

test('a fault is reported as one', async () => {
  expect(await run('fault')).toMatchObject({ code: null, signal: 'SIGSEGV', said: '' });
});

test('V8 says that it is out of memory, and the process ends', async () => {
  const { signal, said, error } = await run('memory', undefined, true);
  expect({ signal, said }).toEqual({ signal: 'SIGSYS', said: '' });
  expect(error).toMatch(/^FATAL ERROR: .*JavaScript heap out of memory$/m);
});
