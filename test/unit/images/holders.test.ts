// An image is in use while a machine has its disk open, whoever looks meanwhile.
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isRunning } from '../../../images/store/holders.js';
import { DISK, imagePath } from '../../../images/store/layout.js';
import { tryLock } from '../../../images/store/lock.js';
import { Disk } from '../../../vmm/devices/blk/disk.js';

const DIGEST = `sha256:${'0'.repeat(64)}`;
const home = mkdtempSync(join(tmpdir(), 'tsvm-holders-'));
const path = join(imagePath(home, DIGEST), DISK);
const opened = () => Disk.open({ id: 'image', readOnly: true, extents: [{ path, offset: 0, length: 512 }] });

beforeAll(() => {
  mkdirSync(imagePath(home, DIGEST), { recursive: true });
  writeFileSync(path, Buffer.alloc(512), { mode: 0o400 });
});
afterAll(() => rmSync(home, { recursive: true }));

test('an image is in use from the opening of its disk to the end of the last machine that has it', () => {
  expect(isRunning(home, `sha256:${'1'.repeat(64)}`)).toBe(false);
  expect(isRunning(home, DIGEST)).toBe(false);
  {
    using _one = opened();
    {
      using _other = opened();
      expect(isRunning(home, DIGEST)).toBe(true);
    }
    expect(isRunning(home, DIGEST)).toBe(true);
  }
  expect(isRunning(home, DIGEST)).toBe(false);
});

// A look by an exclusive lock of flock(2) would say that the other one's image is in use, and keep a
// machine that starts meanwhile from saying it.
test('what another process locks for a look is neither a use nor in the way of one', () => {
  const look = openSync(path, 'r');
  expect(tryLock(look)).toBe(true);
  expect(isRunning(home, DIGEST)).toBe(false);
  using _machine = opened();
  closeSync(look);
  expect(isRunning(home, DIGEST)).toBe(true);
});
