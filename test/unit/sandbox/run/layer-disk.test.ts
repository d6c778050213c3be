// Proves that a writable layer's disk is a valid ext4 file that takes no room, is made once, and
// leaves nothing when it cannot be made.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { layerDisk } from '../../../../sandbox/run/layer-disk.js';

const MIB = 2 ** 20;
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  path = join(folder, 'layer.ext4');
});

afterEach(() => rmSync(folder, { recursive: true }));

/** What `dumpe2fs` says of the file system's features. */
function features(): string {
  const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  execFileSync('e2fsck', ['-fn', path], { env, stdio: 'ignore' });
  return execFileSync('dumpe2fs', ['-h', path], { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

describe('a disk', () => {
  test.each([
    ['that is kept has a journal', true, 64 * MIB, true],
    ['that is kept has none if it is small', true, 32 * MIB, false],
    ['that is not kept has no journal', false, 64 * MIB, false],
  ])('%s', async (_, kept, size, hasJournal) => {
    expect(await layerDisk({ path, kept }, size - 1)).toEqual({ path, kept, size });
    expect(/^Filesystem features: .*has_journal/m.test(features())).toBe(hasJournal);
  });

  test('is 10 GiB that take next to nothing', async () => {
    expect(await layerDisk({ path, kept: false })).toEqual({ path, kept: false, size: 10_240 * MIB });
    expect(statSync(path).blocks * 512).toBeLessThan(MIB);
  });

  test('is made once, whatever size is asked for later', async () => {
    await layerDisk({ path, kept: true }, 32 * MIB);
    writeFileSync(join(folder, 'before'), '');
    const { ino } = statSync(path);
    expect(await layerDisk({ path, kept: false }, 64 * MIB)).toEqual({ path, kept: false, size: 32 * MIB });
    expect(statSync(path).ino).toBe(ino);
  });

  test('that a killed process was making is made anew', async () => {
    writeFileSync(`${path}.new`, 'half');
    await layerDisk({ path, kept: true }, 32 * MIB);
    expect(readdirSync(folder)).toEqual(['layer.ext4']);
  });

  test('that cannot be made leaves nothing, and the reason is one line', async () => {
    const within = join(folder, 'missing', 'layer.ext4');
    await expect(layerDisk({ path: within, kept: true })).rejects.toMatchObject({
      code: 'state',
      message: expect.stringMatching(/^cannot make a disk in \S+\/missing: [^\n]+$/),
    });
    expect(readdirSync(folder)).toEqual([]);
  });
});
