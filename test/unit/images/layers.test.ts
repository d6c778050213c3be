import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore } from '../../../images/index.js';
import {
  buildDumpTree,
  dumpTree,
  expectedTree,
  RANDOM_ROOT,
  RandomLayers,
  umociUnpack,
  writeLayeredImage,
} from '../../fixtures/layered-image.js';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { tar } from '../../fixtures/tar-writer.js';
import { dumpDisk } from './disk-view.js';

let work: string;
let program: string;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-layers-'));
  program = buildDumpTree(work);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

/** Both views of a layout: our disk's and umoci's. */
async function views(layout: string, place: string): Promise<{ ours: string[]; umoci: string[] }> {
  const { disk } = await openStore(join(place, 'home')).resolve(`oci:${layout}`);
  const ours = dumpDisk(disk, place, program);
  const since = Math.floor(Date.now() / 1000);
  const umoci = dumpTree(program, umociUnpack(layout, join(place, 'bundle')));
  return { ours, umoci: expectedTree(umoci, ours, since) };
}

describe('an image of many layers', () => {
  test('looks as umoci unpacks it, through 40 layers', async () => {
    const place = mkdtempSync(join(work, 'forty-'));
    const layout = join(place, 'layout');
    writeLayeredImage(layout, place, { layers: 40, seed: 7 });
    const { ours, umoci } = await views(layout, place);
    expect(ours.length).toBeGreaterThan(100);
    expect(ours).toEqual(umoci);
  });

  test('looks as umoci unpacks it, whatever the layers do', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), fc.integer({ min: 1, max: 8 }), async (seed, count) => {
        const place = mkdtempSync(join(work, 'random-'));
        try {
          const random = new RandomLayers(seed);
          const base = tar(RANDOM_ROOT);
          const layers = [base, ...Array.from({ length: count }, () => tar(random.layer()))];
          writeLayout(join(place, 'layout'), layers);
          const { ours, umoci } = await views(join(place, 'layout'), place);
          expect(ours).toEqual(umoci);
        } finally {
          rmSync(place, { recursive: true, force: true });
        }
      }),
      { seed: 20, numRuns: 25 },
    );
  });
});
