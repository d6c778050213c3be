// Proves that an image of many layers has the tree that umoci unpacks.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../../images/index.js';
import {
  buildDumpTree,
  dumpTree,
  expectedTree,
  type LayeredImage,
  umociUnpack,
  writeCorpusImage,
  writeLayeredImage,
  writeReportedImage,
} from '../../fixtures/layered-image.js';
import { dumpDisk } from './disk-view.js';

const CORPUS = 200;
/** Images compared at the same time. */
const LANES = 3;

let work: string;
/** In memory, where the syncs of a store cost nothing. */
let stores: string;
let program: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-layers-'));
  stores = mkdtempSync('/dev/shm/tsvm-layers-');
  program = buildDumpTree(work);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
  rmSync(stores, { recursive: true, force: true });
});

/** Two views of an image: its disk, checked by fsck.erofs, and umoci's unpacked tree. */
async function views(image: LayeredImage, place: string): Promise<{ ours: string[]; umoci: string[] }> {
  const since = Math.floor(Date.now() / 1000);
  const unpacked = umociUnpack(image.umociLayout, join(place, 'bundle'));
  const home = mkdtempSync(join(stores, 'home-'));
  const { disk } = await openStore(home).resolve(`oci:${image.layout}`);
  const ours = dumpDisk(disk, home, program);
  rmSync(home, { recursive: true });
  const umoci = dumpTree(program, await unpacked);
  return { ours, umoci: expectedTree(umoci, ours, since) };
}

describe('an image of many layers', () => {
  test('has the tree that umoci unpacks, through 40 layers', async () => {
    const place = mkdtempSync(join(work, 'forty-'));
    const { ours, umoci } = await views(writeLayeredImage(place, program, { layers: 40, seed: 7 }), place);
    expect(ours.length).toBeGreaterThan(100);
    expect(ours).toEqual(umoci);
  });

  test('has the tree that umoci unpacks, where other engines were reported to have another', async () => {
    const place = mkdtempSync(join(work, 'reported-'));
    const { ours, umoci } = await views(writeReportedImage(place, program), place);
    const files = ours.map((line) => line.split(' ')[0]);
    expect(files).toEqual(expect.arrayContaining(['/tree/implied/deep/hard', '/tree/late/above', '/tree/names/third']));
    expect(files).not.toContain('/tree/late/below');
    expect(ours).toEqual(umoci);
  });

  test(`has the tree that umoci unpacks, for ${CORPUS} images of random layers`, { timeout: 600_000 }, async () => {
    const numbers = Array.from({ length: CORPUS }, (_, number) => number).reverse();
    let nodes = 0;
    async function lane(): Promise<void> {
      for (let number = numbers.pop(); number !== undefined; number = numbers.pop()) {
        const place = join(work, `corpus-${number}`);
        mkdirSync(place);
        const { ours, umoci } = await views(writeCorpusImage(place, program, number), place);
        expect(ours, `image ${number}`).toEqual(umoci);
        nodes += ours.length;
        rmSync(place, { recursive: true });
      }
    }
    await Promise.all(Array.from({ length: LANES }, lane));
    expect(nodes).toBeGreaterThan(20 * CORPUS);
  });
});
