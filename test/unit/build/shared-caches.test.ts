// --cache-to and --cache-from: a home that has nothing takes the steps of another one. What is
// missing or damaged is told, and built again.
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BuildOptions } from '../../../build/index.js';
import { buildStore } from '../../../images/build.js';
import { type Made, Workshop } from './made.js';

const DOCKERFILE = `FROM scratch AS one
COPY a /one/
WORKDIR /one/two
FROM scratch
COPY --from=one /one /
COPY b /b
WORKDIR /
LABEL c=d
`;

let here: Workshop;
let there: Workshop;
let folder: string;

beforeEach(() => {
  [here, there] = [new Workshop(), new Workshop()];
  for (const shop of [here, there]) shop.write({ a: 'A', b: 'B' });
  folder = join(here.folder, 'cache');
});

afterEach(() => {
  for (const shop of [here, there]) shop[Symbol.dispose]();
});

const blobs = (): string => join(folder, 'blobs/sha256');

/** Numbers of the steps that the cache had. */
const cached = ({ events }: Made): number[] => events.flatMap((event) => (event.is === 'cached' ? [event.step] : []));

const warnings = ({ events }: Made): string[] =>
  events.flatMap((event) => (event.is === 'warning' ? [event.message] : []));

const write = (mode: 'min' | 'max', options: Partial<BuildOptions> = {}): Promise<Made> =>
  here.build(DOCKERFILE, { epoch: 1000, cacheTo: [{ folder, mode }], ...options });

const read = (options: Partial<BuildOptions> = {}): Promise<Made> =>
  there.build(DOCKERFILE, { epoch: 1000, cacheFrom: [folder], ...options });

/** Files of the cache that are layers: the list and the manifest are JSON. */
const layers = (): string[] =>
  readdirSync(blobs()).filter((name) => readFileSync(join(blobs(), name)).subarray(0, 1).toString() !== '{');

test('every step of all stages is there for another home, and the image is the same', async () => {
  const made = await write('max');
  const taken = await read();
  expect(cached(taken)).toHaveLength(5);
  expect(taken.id).toBe(made.id);
  expect(await taken.files()).toEqual(await made.files());
  expect(warnings(taken)).toEqual([]);
  // They are its own now.
  rmSync(folder, { recursive: true });
  expect(cached(await there.build(DOCKERFILE, { epoch: 1000 }))).toHaveLength(5);
});

test('by default the steps of the image are there, and those of other stages are made', async () => {
  await write('min');
  const taken = await read();
  const names = taken.events.flatMap((event) => (event.is === 'begun' ? [[event.step, event.name] as const] : []));
  const found = cached(taken).map((step) => new Map(names).get(step));
  expect(found.sort()).toEqual([
    '[stage-1 2/5] COPY --from=one /one /',
    '[stage-1 3/5] COPY b /b',
    '[stage-1 4/5] WORKDIR /',
  ]);
});

test('what is not in the last build leaves the folder, and the rest stays as it is', async () => {
  await write('max');
  const before = new Map(layers().map((name) => [name, readFileSync(join(blobs(), name), 'latin1')]));
  writeFileSync(join(blobs(), 'stray'), '');
  here.write({ b: 'other' });
  await write('max');
  const after = new Set(layers());
  expect([...before.keys()].filter((name) => !after.has(name))).toHaveLength(1);
  expect([...after].filter((name) => !before.has(name))).toHaveLength(1);
  expect(readdirSync(blobs())).toHaveLength(after.size + 2);
});

test('a folder may be read and written by one build', async () => {
  await write('max');
  const taken = await read({ cacheTo: [{ folder, mode: 'max' }] });
  expect(cached(taken)).toHaveLength(5);
  expect(warnings(taken)).toEqual([]);
  const third = new Workshop();
  try {
    third.write({ a: 'A', b: 'B' });
    expect(cached(await third.build(DOCKERFILE, { epoch: 1000, cacheFrom: [folder] }))).toHaveLength(5);
  } finally {
    third[Symbol.dispose]();
  }
});

test('--no-cache makes every step, and writes it', async () => {
  await write('max');
  expect(cached(await read({ noCache: true, cacheTo: [{ folder, mode: 'max' }] }))).toEqual([]);
  expect(cached(await here.build(DOCKERFILE, { epoch: 1000, cacheFrom: [folder] }))).toHaveLength(5);
});

test.each(['blobs', 'blobs/sha256'])(
  '%s that leads out of the folder is refused, and nothing is removed there',
  async (name) => {
    const outside = join(here.folder, 'outside');
    mkdirSync(join(outside, 'sha256'), { recursive: true });
    for (const file of ['kept', 'sha256/kept']) writeFileSync(join(outside, file), '');
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    symlinkSync(outside, join(folder, name));
    await expect(write('max')).rejects.toThrow(/^cannot write the cache to /);
    expect(readdirSync(outside).sort()).toEqual(['kept', 'sha256']);
    expect(readdirSync(join(outside, 'sha256'))).toEqual(['kept']);
  },
);

test('a layout of images stays: a cache is not written there', async () => {
  mkdirSync(blobs(), { recursive: true });
  const digest = `sha256:${'a'.repeat(64)}`;
  const manifests = [{ mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: 5 }];
  const index = JSON.stringify({ schemaVersion: 2, manifests });
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(folder, 'index.json'), index);
  writeFileSync(join(blobs(), 'a'.repeat(64)), 'image');
  await expect(write('max')).rejects.toThrow(/give the cache its own folder$/);
  expect(readFileSync(join(folder, 'index.json'), 'utf8')).toBe(index);
  expect(readdirSync(blobs())).toEqual(['a'.repeat(64)]);
});

test('what a writer that was killed leaves goes with the next one', async () => {
  mkdirSync(join(blobs(), 'folder'), { recursive: true });
  writeFileSync(join(blobs(), 'aside'), '');
  await write('max');
  expect(readdirSync(folder).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  expect(readdirSync(blobs()).filter((name) => !/^[0-9a-f]{64}$/.test(name))).toEqual([]);
});

test('a folder that is not there, or is no cache, is told', async () => {
  const missing = await read();
  expect(warnings(missing)).toEqual([
    expect.stringMatching(/^the cache of .*cache is not used: .*no such file or directory/),
  ]);
  mkdirSync(folder);
  writeFileSync(join(folder, 'oci-layout'), '{}');
  writeFileSync(join(folder, 'index.json'), '{"manifests":[]}');
  expect(warnings(await read())).toEqual([expect.stringMatching(/ is not used: .* holds no cache of builds$/)]);
});

describe('of a damaged cache', () => {
  let made: Made;

  beforeEach(async () => {
    made = await write('max');
  });

  test.each<[string, (path: string) => void]>([
    ['is cut short', (path) => truncateSync(path, 100)],
    [
      'has a byte flipped',
      (path) => {
        const bytes = readFileSync(path);
        bytes[bytes.length - 1]! ^= 1;
        writeFileSync(path, bytes);
      },
    ],
    ['is gone', (path) => rmSync(path)],
    [
      'is another one',
      (path) => copyFileSync(join(blobs(), layers().find((name) => join(blobs(), name) !== path)!), path),
    ],
    [
      'leads out of the folder',
      (path) => {
        const outside = join(here.folder, 'outside');
        copyFileSync(path, outside);
        rmSync(path);
        symlinkSync(outside, path);
      },
    ],
  ])('a layer that %s is made again', async (_, damage) => {
    damage(join(blobs(), layers()[0]!));
    const taken = await read();
    expect(warnings(taken)).toEqual([expect.stringMatching(/^a step of the cache of .* is not used: /)]);
    expect(cached(taken)).toHaveLength(4);
    expect(taken.id).toBe(made.id);
    // The next cache that is written is whole.
    await write('max');
    await there.home.images.prune();
    await buildStore(there.home.path).prune({});
    expect(cached(await read())).toHaveLength(5);
  });

  test.each<[string, (list: { steps: Record<string, unknown>[] }) => void]>([
    [
      'a key',
      (list) => {
        list.steps[0]!.key = '../../x';
      },
    ],
    [
      'a time',
      (list) => {
        list.steps[0]!.created = 'now';
      },
    ],
    [
      'a layer that is not listed',
      (list) => {
        list.steps[0]!.layer = `sha256:${'0'.repeat(64)}`;
      },
    ],
    [
      'a step that is none',
      (list) => {
        list.steps[0] = 7 as never;
      },
    ],
  ])('a list with %s is refused', async (_, change) => {
    const list = readdirSync(blobs()).find((name) => readFileSync(join(blobs(), name), 'utf8').startsWith('{"steps'))!;
    const json = JSON.parse(readFileSync(join(blobs(), list), 'utf8'));
    change(json);
    writeFileSync(join(blobs(), list), JSON.stringify(json));
    const taken = await read();
    expect(warnings(taken)).toEqual([expect.stringMatching(/^the cache of .* is not used: /)]);
    expect(cached(taken)).toEqual([]);
  });
});
