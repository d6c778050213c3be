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
import { machines, tsvmRun } from './machine.js';

const LAYERS = 40;
/** Some of the corpus that the unit tests compare on the host. */
const SAMPLE = [41, 75, 102];

interface Compared {
  name: string;
  layout: string;
  umoci: string[];
}

/** A folder that the lab has too. */
let folder: string;
let since: number;
const images: Compared[] = [];

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  const program = buildDumpTree(folder);
  since = Math.floor(Date.now() / 1000);
  const add = async (name: string, write: (place: string) => LayeredImage): Promise<void> => {
    const place = join(folder, name);
    const { layout, umociLayout } = write(place);
    images.push({
      name,
      layout,
      umoci: dumpTree(program, join(await umociUnpack(umociLayout, `${place}/bundle`), TREE)),
    });
  };
  await add('forty', (place) => writeLayeredImage(place, program, { layers: LAYERS }));
  for (const number of SAMPLE) await add(`corpus-${number}`, (place) => writeCorpusImage(place, program, number));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe.each(machines)('on $name', (machine) => {
  test(`a guest sees images of up to ${LAYERS} layers as umoci unpacks them`, async () => {
    const env = { TSVM_HOME: join(folder, machine.name) };
    for (const { name, layout, umoci } of images) {
      const { code, stdout, stderr } = await tsvmRun(machine, [`oci:${layout}`], { env });
      expect({ name, code, stderr }).toEqual({ name, code: 0, stderr: '' });
      const ours = stdout.trimEnd().split('\n');
      // xattr(7): trusted attributes show to CAP_SYS_ADMIN alone, which a container does not have.
      const seen = umoci.map((line) => line.replace(/ trusted\.\S+/g, ''));
      expect(ours, name).toEqual(expectedTree(seen, ours, since));
    }
  });
});
