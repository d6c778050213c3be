// Proves that `tsvm cp` archives files of the host completely, and that no archive of a guest
// reaches a file outside of its folder.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { messageOf } from '../../../../errors/index.js';
import { copyArchive } from '../../../../sandbox/containers/copy.js';
import { archiveHost } from '../../../../sandbox/containers/host-archive.js';
import { HostExtractor, moveInto } from '../../../../sandbox/containers/host-extract.js';
import { type TarMember, tar } from '../../../fixtures/tar-writer.js';

/** Only root can keep owners (`cp --archive`). */
const IS_ROOT = process.geteuid?.() === 0;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

test.each(['..', '/a/..', '.', '/', '', '/.', '//.', '../.'])(
  'a server that tells of an archive called %j moves nothing',
  async (from) => {
    const to = join(folder, 'to');
    mkdirSync(join(to, 'own'), { recursive: true });
    writeFileSync(join(to, 'own/file'), '');
    const copied = copyArchive(Readable.from([tar([{ path: 'a', data: 'x' }])]), from, to);
    await expect(copied).rejects.toMatchObject({ code: 'tool' });
    expect([readdirSync(to), readdirSync(join(to, 'own'))]).toEqual([['own'], ['file']]);
  },
);

test('of a source that ends in a dot the contents alone are copied, as Docker does', async () => {
  const copied = async (from: string, to: string) => {
    const content = [
      tar([
        { path: 'srv/', type: '5' },
        { path: 'srv/a', data: 'x' },
      ]),
    ];
    await copyArchive(Readable.from(content), from, join(folder, to));
  };
  mkdirSync(join(folder, 'there'));
  writeFileSync(join(folder, 'there/own'), '');
  await copied('/srv', 'there');
  await copied('/srv/.', 'there');
  await copied('/srv/.', 'new');
  expect(readdirSync(join(folder, 'there')).sort()).toEqual(['a', 'own', 'srv']);
  expect(readdirSync(join(folder, 'new'))).toEqual(['a']);
});

async function archive(path: string, name: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of archiveHost(path, name)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function extract(bytes: Buffer, to: string, chunk = bytes.length): void {
  mkdirSync(to);
  using extractor = new HostExtractor(to, IS_ROOT);
  for (let at = 0; at < bytes.length; at += chunk) extractor.write(bytes.subarray(at, at + chunk));
  extractor.end();
}

const LIST =
  "find . -printf '%y %m %U:%G %T@ %n %l %p\\n' | cut -d. -f1-2 | sort; find . -type f -exec md5sum {} + | sort";

/** Describes a tree: types, modes, owners, times in whole seconds, links and contents. */
function describeTree(path: string): string {
  return execFileSync('sh', ['-c', LIST.replace('%T@', '%Ts')], { cwd: path, encoding: 'utf8' });
}

test('a tree of the host is restored unchanged, by tar(1) and, but for set-user-ID, by the extractor', async () => {
  const script = `
    mkdir -p tree/dir/empty && cd tree && printf data > file && ln file dir/hard && ln -s ../file dir/soft
    head -c 100000 /dev/urandom > large && printf long > dir/$(printf %0150d 1) && touch 'dir/a b' "dir/ü"
    chmod ${IS_ROOT ? 4711 : 711} file && chmod 1750 dir && touch -d 2001-02-03 dir/empty file`;
  execFileSync('sh', ['-c', script], { cwd: folder });
  const bytes = await archive(join(folder, 'tree'), 'copy');
  execFileSync('tar', ['-xpf', '-'], { cwd: folder, input: bytes });
  const before = describeTree(join(folder, 'tree'));
  expect(describeTree(join(folder, 'copy'))).toBe(before);
  extract(bytes, join(folder, 'ours'), 1000);
  chmodSync(join(folder, 'tree/file'), 0o711);
  expect(describeTree(join(folder, 'ours/copy'))).toBe(describeTree(join(folder, 'tree')));
});

test('FIFOs, and names, links, owners and times beyond the limits of a header, are archived', async () => {
  const long = 'n'.repeat(200);
  const script = `
    mkdir tree && cd tree && mkfifo pipe && printf x > ${long} && ln -s $(printf %0900d 1) link
    mkdir -p $(printf %0120d 1)/$(printf %0120d 2) && printf deep > $(printf %0120d 1)/$(printf %0120d 2)/${long}
    ln ${long} hard && printf old > old && touch -d 1960-01-01 old && chown 3000000:3000000 old 2>/dev/null || :`;
  execFileSync('sh', ['-c', script], { cwd: folder });
  const bytes = await archive(join(folder, 'tree'), 'copy');
  execFileSync('tar', ['-xpf', '-'], { cwd: folder, input: bytes });
  expect(describeTree(join(folder, 'copy'))).toBe(describeTree(join(folder, 'tree')));
});

test('a file that shrinks while it is read is filled up, and the next file is intact', async () => {
  mkdirSync(join(folder, 'tree'));
  writeFileSync(join(folder, 'tree/a'), 'x'.repeat(300_000));
  writeFileSync(join(folder, 'tree/b'), 'after');
  const chunks: Buffer[] = [];
  for await (const chunk of archiveHost(join(folder, 'tree'), 'copy')) {
    // The header of `a` has been written, with its size.
    if (chunks.length === 1) truncateSync(join(folder, 'tree/a'), 1000);
    chunks.push(chunk);
  }
  extract(Buffer.concat(chunks), join(folder, 'ours'));
  expect(lstatSync(join(folder, 'ours/copy/a')).size).toBe(300_000);
  expect(readFileSync(join(folder, 'ours/copy/b'), 'utf8')).toBe('after');
});

describe('an archive from a hostile guest', () => {
  test.each<[string, TarMember[]]>([
    ['a path that climbs', [{ path: '../evil', data: Buffer.from('x') }]],
    [
      'a path below a link',
      [
        { path: 'link', type: '2', link: '/tmp' },
        { path: 'link/evil', data: Buffer.from('x') },
      ],
    ],
    ['a link to a file that is not its own', [{ path: 'evil', type: '1', link: 'etc/passwd' }]],
    ['a link that climbs', [{ path: 'evil', type: '1', link: '../../etc/passwd' }]],
    ['a hard link to a link', [{ path: 'evil/x', type: '1', link: 'a' }]],
    [
      'a file in place of a directory',
      [
        { path: 'd/', type: '5' },
        { path: 'd', data: Buffer.from('x') },
      ],
    ],
    [
      'a file through a link of the same name',
      [
        { path: 'l', type: '2', link: '/etc/passwd' },
        { path: 'l', data: Buffer.from('x') },
      ],
    ],
    [
      'a directory through a link',
      [
        { path: 'l', type: '2', link: '/tmp' },
        { path: 'l', type: '5' },
      ],
    ],
  ])('with %s is refused', (_, members) => {
    expect(() => extract(tar(members), join(folder, 'to'))).toThrow(/refused/);
    expect(existsSync(join(folder, 'evil'))).toBe(false);
    expect(existsSync('/tmp/evil')).toBe(false);
  });

  test('that is compressed is refused, not decompressed', () => {
    expect(() => extract(gzipSync(tar([{ path: 'file' }])), join(folder, 'to'))).toThrow(/not a tar archive/);
    expect(readdirSync(join(folder, 'to'))).toEqual([]);
  });

  test('that is cut short, or begins with a damaged header, is refused', () => {
    const whole = tar([{ path: 'file', data: Buffer.alloc(2000) }]);
    expect(() => extract(whole.subarray(0, 1024), join(folder, 'cut'))).toThrow(/damaged|ends/);
    whole[0] = 0x41;
    expect(() => extract(whole, join(folder, 'damaged'))).toThrow(/not a tar archive/);
  });

  test('makes no devices and pipes', () => {
    extract(tar([{ path: 'null', type: '3' }, { path: 'pipe', type: '6' }, { path: 'file' }]), join(folder, 'to'));
    expect(execFileSync('ls', [join(folder, 'to')], { encoding: 'utf8' })).toBe('file\n');
  });

  test('stays in its folder, whatever its entries', () => {
    const name = fc.constantFrom('a', 'b', '..', '.', '', '/', 'a/b', '../a', '/tmp', 'a/../b');
    const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const member = fc.record({ path, type: fc.constantFrom('0', '1', '2', '5'), link: path });
    fc.assert(
      fc.property(fc.array(member, { maxLength: 8 }), (members) => {
        const outer = join(folder, 'outer');
        rmSync(outer, { recursive: true, force: true });
        mkdirSync(outer);
        try {
          extract(tar(members as TarMember[]), join(outer, 'to'));
        } catch (error) {
          expect(messageOf(error)).toMatch(/refused|corrupt|tar|name/i);
        }
        expect(execFileSync('ls', ['-A', outer], { encoding: 'utf8' })).toBe('to\n');
      }),
      { numRuns: 100 },
    );
  });
});

describe('moving into place', () => {
  test('merges directories, and replaces files and links without following them', async () => {
    for (const path of ['from/d', 'to/d']) mkdirSync(join(folder, path), { recursive: true });
    writeFileSync(join(folder, 'from/d/new'), 'new');
    writeFileSync(join(folder, 'from/link'), 'file');
    writeFileSync(join(folder, 'to/d/old'), 'old');
    writeFileSync(join(folder, 'elsewhere'), 'untouched');
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'to/link'));
    await moveInto(join(folder, 'from'), join(folder, 'to'));
    expect(readFileSync(join(folder, 'to/d/new'), 'utf8')).toBe('new');
    expect(readFileSync(join(folder, 'to/d/old'), 'utf8')).toBe('old');
    expect(lstatSync(join(folder, 'to/link')).isFile()).toBe(true);
    expect(readFileSync(join(folder, 'elsewhere'), 'utf8')).toBe('untouched');
  });

  test('does not replace a directory', async () => {
    mkdirSync(join(folder, 'to'));
    writeFileSync(join(folder, 'from'), '');
    await expect(moveInto(join(folder, 'from'), join(folder, 'to'))).rejects.toThrow(/cannot overwrite directory/);
  });
});

describe('a folder that is replaced by a link meanwhile', () => {
  beforeEach(() => {
    mkdirSync(join(folder, 'outside'));
    writeFileSync(join(folder, 'outside/b'), 'secret');
  });

  test('is archived as it was', async () => {
    mkdirSync(join(folder, 'tree/dir'), { recursive: true });
    for (const name of ['a', 'b']) writeFileSync(join(folder, 'tree/dir', name), 'own');
    const chunks: Buffer[] = [];
    for await (const chunk of archiveHost(join(folder, 'tree'), 'copy')) {
      if (chunks.length === 2) {
        renameSync(join(folder, 'tree/dir'), join(folder, 'old'));
        symlinkSync('../outside', join(folder, 'tree/dir'));
      }
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    expect(bytes.includes('copy/dir/b')).toBe(true);
    expect(bytes.includes('secret')).toBe(false);
  });

  test('is not written to, and the place of the extraction neither', () => {
    const archive = tar([
      { path: 'root', type: '5' },
      { path: 'root/dir', type: '5' },
      { path: 'root/dir/b', data: 'evil' },
    ]);
    for (const replaced of ['to', 'to/root', 'to/root/dir']) {
      mkdirSync(join(folder, 'to'));
      {
        using extractor = new HostExtractor(join(folder, 'to'), false);
        // Both headers of folders.
        extractor.write(archive.subarray(0, 1024));
        renameSync(join(folder, replaced), join(folder, 'old'));
        symlinkSync(join(folder, 'outside'), join(folder, replaced));
        try {
          extractor.write(archive.subarray(1024));
          extractor.end();
        } catch (error) {
          expect(messageOf(error)).toMatch(/ELOOP|ENOTDIR/);
        }
      }
      expect(readdirSync(join(folder, 'outside'))).toEqual(['b']);
      expect(readFileSync(join(folder, 'outside/b'), 'utf8')).toBe('secret');
      for (const left of ['to', 'old']) rmSync(join(folder, left), { recursive: true });
    }
  });
});
