// A guest sees an image's layers as `umoci unpack` lays them out.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  buildDumpTree,
  dumpTree,
  expectedTree,
  type LayeredImage,
  TREE,
  umociUnpack,
  writeCorpusImage,
  writeLayeredImage,
} from '../fixtures/layered-image.js';
import { fastest, machines, tsvmRun } from './machine.js';

const LAYERS = 40;
/** A sample of the corpus that the unit tests compare on the host. */
const SAMPLE = [41, 75, 102];

interface Compared {
  layout: string;
  umoci: string[];
}

/** A folder that the lab sees too. */
let folder: string;
let since: number;
const images = new Map<string, Compared>();

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const program = buildDumpTree(folder);
  since = Math.floor(Date.now() / 1000);
  const add = async (name: string, write: (place: string) => LayeredImage): Promise<void> => {
    const place = join(folder, name);
    const { layout, umociLayout } = write(place);
    images.set(name, {
      layout,
      umoci: dumpTree(program, join(await umociUnpack(umociLayout, `${place}/bundle`), TREE)),
    });
  };
  await add('forty', (place) => writeLayeredImage(place, program, { layers: LAYERS }));
  for (const number of SAMPLE) await add(`corpus-${number}`, (place) => writeCorpusImage(place, program, number));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe.each(machines)('on $name', (machine) => {
  // Disk and guest kernel are the same on each machine, so only the fastest tests the whole sample.
  const here = fastest.includes(machine) ? ['forty', ...SAMPLE.map((number) => `corpus-${number}`)] : ['forty'];

  test.each(here)(`a guest sees the image '%s' as umoci unpacks it`, async (name) => {
    const env = { TSVM_HOME: join(folder, machine.name) };
    const { layout, umoci } = images.get(name)!;
    const { code, stdout, stderr } = await tsvmRun(machine, [`oci:${layout}`], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const ours = stdout.trimEnd().split('\n');
    // xattr(7): trusted attributes need CAP_SYS_ADMIN, which a container does not have.
    const seen = umoci.map((line) => line.replace(/ trusted\.\S+/g, ''));
    expect(ours).toEqual(expectedTree(seen, ours, since));
  });
});
