// An owner ends the connections with members that have left also where the host has no watch for it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundle } from '../../../kvm/guest.js';

/** Runs a program in a user namespace without watches. */
const WITHOUT_WATCHES = 'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"';

let folder: string;
let programs: URL;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-unwatched-'));
  programs = await bundle('unwatched', { unwatched: 'test/unit/vmm/outside/unwatched.ts' });
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  rmSync(programs, { recursive: true });
});

test('a connection with a member that has left is ended without a watch', () => {
  const program = [process.execPath, new URL('unwatched.js', programs).pathname, folder];
  const words = ['-Ur', 'sh', '-c', WITHOUT_WATCHES, 'sh', ...program];
  expect(execFileSync('unshare', words, { encoding: 'utf8' })).toBe('0\n');
});

test('the namespace gives no watch', () => {
  const watch = "require('fs').watch('/')";
  const words = ['-Ur', 'sh', '-c', WITHOUT_WATCHES, 'sh', process.execPath, '-e', watch];
  expect(() => execFileSync('unshare', words, { stdio: 'pipe', encoding: 'utf8' })).toThrow('EMFILE');
});
