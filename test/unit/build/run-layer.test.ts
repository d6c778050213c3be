// The layer of a RUN is without what its machine and its mounts have made.
import { expect, test } from 'vitest';
import { EMPTY } from '../../../build/solve/copy.js';
import { filterLayer } from '../../../build/solve/run-layer.js';
import { END_MARK, entryHeader, type TarEntry, TarReader } from '../../../images/build.js';

async function filtered(paths: readonly string[], places: readonly string[]): Promise<string[]> {
  const tar = paths.map((path) =>
    entryHeader({
      ...{ type: path.endsWith('/') ? 'directory' : 'file', path, linkname: '', mode: 0o755, uid: 0, gid: 0, size: 0 },
      ...{ mtime: { seconds: 1, nanoseconds: 0 }, devMajor: 0, devMinor: 0, xattrs: null },
    }),
  );
  async function* all(): AsyncGenerator<Buffer> {
    yield* tar;
    yield END_MARK;
  }
  const kept: string[] = [];
  const reader = new TarReader({ entry: ({ path }: TarEntry) => kept.push(path), data: () => {} });
  const how = { places: new Set(places), hidden: 'hidden', latest: undefined };
  for await (const chunk of filterLayer(all(), EMPTY, how)) reader.write(chunk);
  reader.end();
  return kept;
}

test('places of mounts are left out, with the directories above them, unless something else is there', async () => {
  const places = ['a', 'b', 'b/c', 'd', 'd/e', 'f'];
  const mark = '.wh..wh..opq';
  const made = ['./', './a/', `./a/${mark}`, './b/', `./b/${mark}`, './b/c/', './d/', `./d/${mark}`, './d/e/', './d/x'];
  expect(await filtered([...made, './f', './g/', `./g/${mark}`], places)).toEqual([
    './',
    './d/',
    `./d/${mark}`,
    './d/x',
    './g/',
    `./g/${mark}`,
  ]);
});

test('the hidden directory is left out with all that is in it', async () => {
  expect(await filtered(['./', './a/', './hidden/', './hidden/x', './hiddenx/', './hiddenx/y'], ['a'])).toEqual([
    './',
    './hiddenx/',
    './hiddenx/y',
  ]);
});
