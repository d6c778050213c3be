import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  buildDumpTree,
  dumpTree,
  expectedTree,
  TREE,
  umociUnpack,
  writeLayeredImage,
} from '../fixtures/layered-image.js';
import { machines, tsvmRun } from './machine.js';

const LAYERS = 40;

/** A folder that the lab has too. */
let folder: string;
let layout: string;
let umoci: string[];
let since: number;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-test-');
  layout = join(folder, 'layout');
  writeLayeredImage(layout, folder, { layers: LAYERS });
  since = Math.floor(Date.now() / 1000);
  umoci = dumpTree(buildDumpTree(folder), join(umociUnpack(layout, join(folder, 'bundle')), TREE));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe.each(machines)('on $name', (machine) => {
  test(`a guest sees an image of ${LAYERS} layers as umoci unpacks it`, async () => {
    const env = { TSVM_HOME: join(folder, machine.name) };
    const { code, stdout, stderr } = await tsvmRun(machine, [`oci:${layout}`], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const ours = stdout.trimEnd().split('\n');
    // xattr(7): trusted attributes show to CAP_SYS_ADMIN alone, which a container does not have.
    const seen = umoci.map((line) => line.replace(/ trusted\.\S+/g, ''));
    expect(ours).toEqual(expectedTree(seen, ours, since));
  });
});
