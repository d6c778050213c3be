// A machine process that serves shared folders, and that a guest has taken over, reaches no other file
// by the calls of its file server: neither those that it has open, such as the disk of an image, nor
// those below the folder in which it was started.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundle } from '../../../kvm/guest.js';

const EPERM = -1;

let folder: string;
let programs: URL;
beforeAll(async () => {
  folder = mkdtempSync('/tmp/tsvm-kept-');
  programs = await bundle('kept-files', { server: 'test/unit/vmm/accel/hostile-server.ts' });
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  rmSync(programs, { recursive: true });
});

function attempts(how: string): unknown {
  const cwd = join(folder, how);
  mkdirSync(join(cwd, 'share'), { recursive: true });
  writeFileSync(join(cwd, 'disk'), 'an image');
  // A device of the host's, as stdin and stdout.
  const { stderr } = spawnSync(process.execPath, [new URL('server.js', programs).pathname, how], {
    cwd,
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return JSON.parse(stderr);
}

test('a file server reaches the files of its shares alone', () => {
  expect(attempts('kept')).toEqual({
    reached: [],
    withoutDescriptor: { open: EPERM, look: EPERM, owner: EPERM, times: EPERM, folder: EPERM },
    serves: true,
  });
});

test('without that, the same attempts reach disks and devices of the host', () => {
  expect(attempts('free')).toMatchObject({
    reached: expect.arrayContaining(['mode of a device', 'a file that is open to be read', 'mode of a file']),
    serves: true,
  });
});
