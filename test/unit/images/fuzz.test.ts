// Fuzz targets for each kind of untrusted bytes. A parser throws nothing but an ImageError with a
// one-line message, and its work is bounded by the size of its input.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { messageOf } from '../../../errors/index.js';
import { writeErofs } from '../../../images/erofs/writer.js';
import { ImageError } from '../../../images/index.js';
import { cleanPath } from '../../../images/layer/convert.js';
import type { LayerEntry, LayerEntryKind } from '../../../images/layer/layer-index.js';
import { type Inode, mergeLayers } from '../../../images/layer/merge.js';
import { MAX_DEPTH } from '../../../images/limits.js';
import { parseConfig } from '../../../images/source/config.js';
import { openDockerArchive } from '../../../images/source/docker-archive.js';
import type { FileTree } from '../../../images/source/file-tree.js';
import { openOciLayout } from '../../../images/source/oci.js';
import type { SourceImage } from '../../../images/source/source-image.js';
import { parsePax } from '../../../images/tar/pax.js';
import { type TarEntry, TarReader } from '../../../images/tar/reader.js';
import { fuzzing } from '../../fixtures/fuzz.js';
import { sha256 } from '../../fixtures/oci-layout.js';
import { RandomLayers } from '../../fixtures/random-layers.js';
import { checksummed, paxRecord, tar } from '../../fixtures/tar-writer.js';

/** Returns the result of `look`, or null if it refuses the bytes with an ImageError. */
function orRefused<T>(look: () => T): T | null {
  try {
    return look();
  } catch (error) {
    expectRefusal(error);
    return null;
  }
}

function expectRefusal(error: unknown): void {
  if (!(error instanceof ImageError)) throw error;
  expect(error.message).toMatch(/^[^\p{C}]{1,1010}$/u);
}

describe('a tar', () => {
  interface Seen {
    entries: TarEntry[];
    bytes: number;
    /** True if data came twice, or from beyond the end of its file. */
    outside: boolean;
    refused: string | null;
  }

  function read(archive: Buffer, pieceLength: number): Seen {
    const seen: Seen = { entries: [], bytes: 0, outside: false, refused: null };
    let end = 0;
    const reader = new TarReader({
      entry(entry) {
        seen.entries.push(entry);
        end = 0;
      },
      data(offset, bytes) {
        seen.bytes += bytes.length;
        seen.outside ||= offset < end || offset + bytes.length > seen.entries.at(-1)!.size;
        end = offset + bytes.length;
      },
    });
    try {
      for (let at = 0; at < archive.length; at += pieceLength) reader.write(archive.subarray(at, at + pieceLength));
      reader.end();
    } catch (error) {
      expectRefusal(error);
      seen.refused = messageOf(error);
    }
    return seen;
  }

  /** Whole archives with every kind of member, with some blocks moved and some bytes changed. */
  const damaged = fc
    .record({
      seed: fc.nat(1000),
      changes: fc.array(fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 0x30, 0x37, 0x80, 0xff))), {
        maxLength: 12,
      }),
      /** The source, the target and the number of blocks of each move. */
      moves: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 8 })), { maxLength: 3 }),
      length: fc.option(fc.nat()),
      mend: fc.boolean(),
    })
    .map(({ seed, changes, moves, length, mend }) => {
      const archive = tar(new RandomLayers(seed).layer(8));
      const blocks = archive.length / 512;
      for (const [from, to, count] of moves) {
        archive.copyWithin((to % blocks) * 512, (from % blocks) * 512, ((from % blocks) + count) * 512);
      }
      // Headers matter most, so the first bytes of blocks are changed most often.
      for (const [at, byte] of changes)
        archive[at % 2 === 0 ? at % archive.length : (at % blocks) * 512 + (at % 512)] = byte;
      // A damaged header with a correct checksum gets further.
      if (mend) {
        for (let at = 0; at < archive.length; at += 512) {
          if (archive.toString('latin1', at + 257, at + 262) === 'ustar') checksummed(archive.subarray(at, at + 512));
        }
      }
      return length === null ? archive : archive.subarray(0, length % (archive.length + 1));
    });

  test('is read or refused, with the same result for pieces of any size', () => {
    fc.assert(
      fc.property(damaged, fc.integer({ min: 1, max: 2000 }), (archive, pieceLength) => {
        const whole = read(archive, archive.length || 1);
        expect(whole.entries.length).toBeLessThanOrEqual(archive.length / 512);
        expect(whole.outside).toBe(false);
        expect(whole.bytes).toBeLessThanOrEqual(archive.length);
        expect(read(archive, pieceLength)).toEqual(whole);
      }),
      fuzzing(400),
    );
  });

  test('has PAX records that are read or refused', () => {
    const key = fc.oneof(
      fc.constantFrom('path', 'linkpath', 'size', 'uid', 'gid', 'mtime', 'SCHILY.xattr.user.a', 'comment'),
      fc
        .constantFrom('major', 'minor', 'name', 'realsize', 'size', 'offset', 'numbytes', 'map')
        .map((k) => `GNU.sparse.${k}`),
    );
    const value = fc.oneof(
      fc.string({ unit: 'binary-ascii' }),
      fc.stringMatching(/^[-+]?\d{0,20}(\.\d{0,12})?(,\d{0,20}){0,5}$/),
    );
    const records = fc
      .array(fc.tuple(key, value), { maxLength: 8 })
      .map((pairs) => Buffer.from(pairs.map(paxRecord).join(''), 'latin1'));
    const body = fc.oneof(
      records,
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.tuple(records, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
        if (bytes.length > 0) bytes[at % bytes.length] = byte;
        return bytes;
      }),
    );
    fc.assert(
      fc.property(body, (bytes) => {
        const parsed = orRefused(() => parsePax(bytes));
        for (const number of [parsed?.size, parsed?.uid, parsed?.gid, parsed?.mtime?.seconds]) {
          expect(number === undefined || Number.isSafeInteger(number)).toBe(true);
        }
        const nanoseconds = parsed?.mtime?.nanoseconds ?? 0;
        expect(nanoseconds >= 0 && nanoseconds < 1e9).toBe(true);
      }),
      fuzzing(2000),
    );
  });
});

describe('layers', () => {
  const part = fc.constantFrom('a', 'b', 'c', '..', '.', '', '\xff', 'n'.repeat(255), '.wh.a');
  const path = fc.array(part, { maxLength: 6 }).map((parts) => parts.join('/'));
  const kind = fc.constantFrom<LayerEntryKind>(
    ...([
      'file',
      'link',
      'symlink',
      'symlink',
      'char',
      'directory',
      'directory',
      'fifo',
      'whiteout',
      'opaque',
    ] as const),
  );
  const entry: fc.Arbitrary<LayerEntry> = fc
    .record({ kind, path: path.map(cleanPath), link: path, mode: fc.nat(0o7777), uid: fc.nat(2 ** 32 - 2) })
    .map((some) => ({
      ...some,
      link: some.kind === 'link' ? cleanPath(some.link) : some.link || 'x',
      gid: 0,
      mtime: { seconds: 0, nanoseconds: 0 },
      size: 0,
      page: 0,
      device: 0,
      xattrs: null,
    }));
  const layers = fc.array(fc.array(entry, { maxLength: 15 }), { maxLength: 5 });

  /** Counts the names of each file, and checks that each directory has only one. */
  function countNames(root: Inode): Map<Inode, number> {
    const counts = new Map<Inode, number>();
    const visit = (inode: Inode, depth: number): void => {
      expect(depth).toBeLessThanOrEqual(MAX_DEPTH);
      for (const [name, child] of inode.children) {
        expect(name).not.toMatch(/^\.{0,2}$|\//);
        counts.set(child.inode, (counts.get(child.inode) ?? 0) + 1);
        if (child.inode.kind === 'directory') {
          expect(counts.get(child.inode)).toBe(1);
          visit(child.inode, depth + 1);
        }
      }
    };
    visit(root, 0);
    return counts;
  }

  test('become a tree and a disk, or are refused', () => {
    fc.assert(
      fc.property(layers, (all) => {
        const root = orRefused(() => mergeLayers(all));
        if (!root) return;
        for (const [inode, count] of countNames(root)) expect(inode.names).toBe(count);
        expect(writeErofs(root, [], 'fuzz').length % 4096).toBe(0);
      }),
      fuzzing(2000),
    );
  });
});

describe('the JSON of an image', () => {
  type Value = fc.JsonValue;

  /** Replaces the part of a value that `at` counts to, in depth-first order, or renames a key. */
  function replaced(value: Value, at: { left: number }, by: Value): Value {
    if (at.left-- === 0) return by;
    if (Array.isArray(value)) return value.map((item) => replaced(item as Value, at, by));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, replaced(item as Value, at, by)]));
  }

  const strange = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom<Value>(
      '',
      '__proto__',
      '\u001b[2J\n',
      'x'.repeat(5000),
      1e300,
      -1,
      'sha256:',
      '../../etc/passwd',
      {},
    ),
    fc.constantFrom<Value>(JSON.parse('{"__proto__": {"a": "b"}, "constructor": "c"}')),
  );
  const changes = fc.array(fc.tuple(fc.nat(60), strange), { maxLength: 3 });
  const changed = (value: Value, edits: [number, Value][]): Value =>
    edits.reduce((result, [left, by]) => replaced(result, { left }, by), value);

  const config: Value = {
    architecture: 'amd64',
    os: 'linux',
    created: '2024-01-01T00:00:00Z',
    config: {
      Env: ['A=1'],
      Cmd: ['/bin/sh'],
      Entrypoint: ['/e'],
      ExposedPorts: { '80/tcp': {} },
      Volumes: { '/v': {} },
      Labels: { a: 'b' },
      User: '1',
      WorkingDir: '/',
      StopSignal: 'SIGTERM',
      Healthcheck: { Test: ['CMD', 'a'], Interval: 1, Timeout: 2, Retries: 3 },
      Shell: ['/s'],
    },
    rootfs: { type: 'layers', diff_ids: [sha256('layer')] },
  };

  /** Files by name, in memory. */
  function treeOf(files: Record<string, Buffer>): FileTree {
    return {
      path: 'memory',
      find: (name) => {
        const bytes = Object.hasOwn(files, name) ? files[name] : undefined;
        if (bytes === undefined) return null;
        return {
          size: bytes.length,
          async *stream() {
            yield bytes;
          },
        };
      },
    };
  }

  const isListOfStrings = (value: unknown): boolean =>
    Array.isArray(value) && value.every((item) => typeof item === 'string');

  async function expectImageOrRefusal(open: Promise<SourceImage>): Promise<void> {
    try {
      const image = await open;
      expect(image.digest).toBe(sha256(image.configBytes));
      for (const { diffId } of image.layers) expect(diffId).toMatch(/^sha256:[0-9a-f]{64}$/);
    } catch (error) {
      expectRefusal(error);
    }
  }

  test('config is read or refused, and has the right types', () => {
    fc.assert(
      fc.property(changes, (edits) => {
        const parsed = orRefused(() => parseConfig(Buffer.from(JSON.stringify(changed(config, edits)))));
        if (!parsed) return;
        const { Env, Cmd, Entrypoint, ExposedPorts, Volumes, Labels, User, WorkingDir, StopSignal } = parsed.config;
        expect([Env, Cmd, Entrypoint, ExposedPorts, Volumes].every(isListOfStrings)).toBe(true);
        expect(isListOfStrings([User, WorkingDir, StopSignal, ...Object.values(Labels)])).toBe(true);
        const { Healthcheck, Shell } = parsed.config;
        if (Healthcheck) {
          const { Test, ...numbers } = Healthcheck;
          expect(isListOfStrings(Test)).toBe(true);
          expect(Object.values(numbers).every(Number.isInteger)).toBe(true);
        }
        expect(isListOfStrings(Shell)).toBe(true);
        expect(Object.getPrototypeOf(Labels)).toBe(Object.prototype);
      }),
      fuzzing(1500),
    );
  });

  test('config is refused if it is too deep or not JSON', () => {
    for (const text of ['['.repeat(1_000_000), '{"a":'.repeat(500_000), '\xff\xfe', '', '9'.repeat(1_000_000)]) {
      expect(orRefused(() => parseConfig(Buffer.from(text, 'latin1')))).toBe(null);
    }
  });

  test('layout is opened or refused, with any index and manifest', async () => {
    const files: Record<string, Buffer> = { 'oci-layout': Buffer.from('{}') };
    const put = (value: Value, mediaType: string) => {
      const bytes = Buffer.from(JSON.stringify(value));
      files[`blobs/sha256/${sha256(bytes).slice(7)}`] = bytes;
      return { mediaType, digest: sha256(bytes), size: bytes.length };
    };
    const kind = 'application/vnd.oci.image';
    await fc.assert(
      fc.asyncProperty(changes, changes, changes, async (configEdits, manifestEdits, indexEdits) => {
        const manifest = {
          schemaVersion: 2,
          config: put(changed(config, configEdits), `${kind}.config.v1+json`),
          layers: [put('layer', `${kind}.layer.v1.tar`)],
          annotations: { a: 'b' },
        };
        const descriptor = put(changed(manifest, manifestEdits), `${kind}.manifest.v1+json`);
        const platform = { os: 'linux', architecture: 'amd64' };
        const inner = put({ schemaVersion: 2, manifests: [{ ...descriptor, platform }] }, `${kind}.index.v1+json`);
        const index = { manifests: [{ ...inner, annotations: { 'org.opencontainers.image.ref.name': 'tag' } }] };
        files['index.json'] = Buffer.from(JSON.stringify(changed(index, indexEdits)));
        await expectImageOrRefusal(openOciLayout(treeOf(files), null));
      }),
      fuzzing(500),
    );
  });

  test("archive's manifest is read or refused, with any contents", async () => {
    await fc.assert(
      fc.asyncProperty(changes, changes, async (manifestEdits, configEdits) => {
        const manifest = [{ Config: 'c.json', RepoTags: ['a:1'], Layers: ['l.tar'] }];
        const files = {
          'c.json': Buffer.from(JSON.stringify(changed(config, configEdits))),
          'l.tar': Buffer.from('layer'),
          'manifest.json': Buffer.from(JSON.stringify(changed(manifest, manifestEdits))),
        };
        for (const tag of [null, 'a:1', 'x']) await expectImageOrRefusal(openDockerArchive(treeOf(files), tag));
      }),
      fuzzing(500),
    );
  });
});
