// Proves that data of zstd and xz do not expand without limit. Needs those programs.
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import * as limits from '../../../images/limits.js';
import { tarMember } from '../../fixtures/tar-writer.js';
import { exceeded } from './failure.js';
import { stored } from './stored.js';

const MIB = 1 << 20;

let work: string;
let place: string;
let home: string;
let store: Store;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-limits-'));
});

beforeEach(() => {
  place = mkdtempSync(join(work, 'test-'));
  home = join(place, 'home');
  store = openStore(home);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

describe('a layer', () => {
  test.each(['zstd', 'xz'])('whose %s data expand too far is refused, in little memory', async (program) => {
    const compress = (input: Buffer): Buffer => execFileSync(program, ['-c', '-9'], { input, maxBuffer: 1 << 30 });
    // The header of a file of 4 GiB, followed by zeros. Compressed data may be concatenated.
    const zeros = compress(Buffer.alloc(64 * MIB));
    const file = join(place, 'bomb');
    writeFileSync(file, compress(tarMember({ path: 'zeros', size: 2 ** 32, data: '' })));
    for (let i = 0; i < 17; i++) appendFileSync(file, zeros);
    const before = process.memoryUsage().rss;
    await expect(store.import(file, 'bomb')).rejects.toEqual(exceeded(limits.MAX_EXPANSION_RATIO));
    expect(process.memoryUsage().rss - before).toBeLessThan(256 * MIB);
    expect(stored(home)).toEqual([]);
  });
});

describe('an archive', () => {
  test('whose data expand too far is refused before it fills the disk', async () => {
    mkdirSync(home);
    const file = join(place, 'archive.tar.zst');
    const zeros = execFileSync('zstd', ['-c'], { input: Buffer.alloc(64 * MIB) });
    writeFileSync(file, Buffer.concat(Array.from({ length: 17 }, () => zeros)));
    await expect(store.resolve(`oci-archive:${file}`)).rejects.toEqual(exceeded(limits.MAX_EXPANSION_RATIO));
    expect(stored(home)).toEqual([]);
  });
});
