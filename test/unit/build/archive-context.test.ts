// A context that is a tar gives the image that its folder would give, and a hostile one leads out of
// nothing, or ends the build with one line. The command takes what comes by stdin by its first bytes.
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ArchiveContext, readStream } from '../../../build/index.js';
import { buildStore } from '../../../images/build.js';
import { tar as anyTar } from '../../fixtures/tar-writer.js';
import { tar } from './archive.js';
import { Workshop } from './made.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let shop: Workshop;

beforeEach(() => {
  shop = new Workshop();
});

afterEach(() => shop[Symbol.dispose]());

/** In pieces that end anywhere. */
function stream(bytes: Buffer): Readable {
  return Readable.from(
    Array.from({ length: Math.ceil(bytes.length / 100) }, (_, at) => bytes.subarray(at * 100, at * 100 + 100)),
  );
}

async function files(archive: Buffer, dockerfile: string, ignoring?: string): Promise<string[]> {
  await using context = await ArchiveContext.open(shop.home, stream(archive));
  const made = await shop.build(`FROM scratch\n${dockerfile}`, {
    context,
    ...(ignoring !== undefined && { ignoring }),
  });
  return await made.files();
}

const PLAIN = tar(
  { path: './', mode: 0o700 },
  { path: './a', text: 'A', uid: 7, gid: 8 },
  { path: './d/', mode: 0o750, uid: 7 },
  { path: './d/b', text: 'B', mode: 0o4755 },
  { path: './d/c', type: 'link', linkname: './d/b' },
  { path: './l', type: 'symlink', linkname: 'd/b' },
);

describe('a context of an archive', () => {
  test.each<[string, string[], string?]>([
    ['COPY a /', ['644 0:0 /a "A"']],
    ['COPY l /x', ['4755 0:0 /x "B"']],
    ['COPY d /x', ['755 0:0 /x/', '4755 0:0 /x/b "B"', '4755 0:0 /x/c "B"']],
    ['COPY . /x/', ['755 0:0 /x/', '644 0:0 /x/a "A"', '750 0:0 /x/d/', '/x/l -> d/b'], 'd/*'],
    ['COPY . /', ['750 0:0 /d/', '4755 0:0 /d/c "B"'], '*\n!d/c'],
    ['COPY --chown=1:2 a /', ['644 1:2 /a "A"']],
  ])('%s', async (dockerfile, expected, ignoring) => {
    expect(await files(PLAIN, dockerfile, ignoring)).toEqual(expected);
    expect(await files(gzipSync(PLAIN), dockerfile, ignoring)).toEqual(expected);
  });

  test.each([
    ['xz', ['-c']],
    ['zstd', ['-cq']],
    ['bzip2', ['-c']],
  ])('may be compressed with %s', async (program, words) => {
    const archive = execFileSync(program, words, { input: PLAIN });
    expect(await files(archive, 'COPY a /')).toEqual(['644 0:0 /a "A"']);
  });

  test('is in the cache by the contents of its files, as a folder is', async () => {
    shop.write({ a: 'A' });
    const text = 'FROM scratch\nCOPY a /';
    const { id } = await shop.build(text);
    await using context = await ArchiveContext.open(shop.home, stream(gzipSync(PLAIN)));
    const again = await shop.build(text, { context });
    expect(again.events.filter(({ is }) => is === 'cached')).toHaveLength(1);
    expect(again.id).toBe(id);
  });

  test('stays in the store until it is disposed of', async () => {
    const store = buildStore(shop.home.path);
    const layers = () => readdirSync(join(shop.home.path, 'store-2/layers'));
    const context = await ArchiveContext.open(shop.home, stream(PLAIN));
    await store.prune({});
    expect(await context.file('a', 10)).toEqual(Buffer.from('A'));
    await context[Symbol.asyncDispose]();
    await store.prune({});
    expect(layers()).toEqual([]);
  });
});

describe('a hostile archive', () => {
  test('leads nowhere out of the context', async () => {
    const archive = tar(
      { path: '../../up', text: '1' },
      { path: '/etc/passwd', text: '2' },
      { path: 'out', type: 'symlink', linkname: '../../../../etc/passwd' },
      { path: 'host', type: 'symlink', linkname: '/' },
      { path: 'host/g', text: '4' },
    );
    expect(await files(archive, 'COPY up out host/g ../../../etc/passwd /x/')).toEqual([
      ...['755 0:0 /x/', '644 0:0 /x/g "4"', '644 0:0 /x/out "2"', '644 0:0 /x/passwd "2"', '644 0:0 /x/up "1"'],
    ]);
    await using context = await ArchiveContext.open(shop.home, stream(archive));
    expect(await context.file('out', 10)).toEqual(Buffer.from('2'));
    expect(await context.file('host', 10)).toBeUndefined();
    await expect(context.file('up', 0)).rejects.toThrow('up of the context exceeds 0 bytes');
  });

  const holes = 2 ** 40;
  const pax = { 'GNU.sparse.size': `${holes}`, 'GNU.sparse.numblocks': '1', 'GNU.sparse.map': `${holes},0` };
  test.each<[string, Buffer, string]>([
    ['a device', tar({ path: 'd/' }, { path: 'd/n', type: 'char', devMajor: 1 }), 'd/n in the context is a device'],
    [
      'a hard link out of it',
      tar({ path: 'l', type: 'link', linkname: '../../etc/shadow' }),
      "cannot read the context: the layer's entry l cannot be applied: it is a hard link to etc/shadow, which",
    ],
    ['a file as a directory', tar({ path: 'f' }, { path: 'f/g' }), 'its parent is not a directory'],
    ['an end in the middle', tar({ path: 'f', text: 'F'.repeat(600) }).subarray(0, 700), 'the tar is damaged'],
    ['an end of gzip in the middle', gzipSync(PLAIN).subarray(0, -9), 'gzip data are damaged or cut short'],
    ['gzip of no tar', gzipSync('FROM scratch'), 'cannot read the context: it is not a tar archive'],
    ['holes alone', anyTar([{ path: 'f', pax }]), 'its files expand to more than 500 times its size'],
    ['a deep tree', tar({ path: `${'d/'.repeat(300)}f` }), 'deeper than 256 directories'],
  ])('%s is refused', async (_, archive, message) => {
    const failure = files(archive, 'COPY . /');
    await expect(failure).rejects.toMatchObject({ name: 'BuildError', message: expect.stringContaining(message) });
    await expect(failure).rejects.not.toThrow('\n');
  });

  test('what .dockerignore names may be a device', async () => {
    const archive = tar({ path: 'a', text: 'A' }, { path: 'n', type: 'char', devMajor: 1 });
    expect(await files(archive, 'COPY . /', 'n')).toEqual(['644 0:0 /a "A"']);
  });
});

describe('what comes by a stream', () => {
  test('is a Dockerfile unless it begins as an archive', async () => {
    expect(await readStream(shop.home, stream(Buffer.from('FROM scratch')))).toBe('FROM scratch');
    expect(await readStream(shop.home, stream(Buffer.alloc(0)))).toBe('');
    await using context = (await readStream(shop.home, stream(PLAIN))) as ArchiveContext;
    expect(context).toBeInstanceOf(ArchiveContext);
    await expect(readStream(shop.home, stream(Buffer.alloc((4 << 20) + 1, '#')))).rejects.toThrow(
      'the Dockerfile exceeds 4194304 bytes',
    );
  });

  function tsvm(input: Buffer | string, ...argv: string[]) {
    const env = { ...process.env, TSVM_HOME: shop.home.path };
    const { status, stdout, stderr } = spawnSync(TSVM, ['build', ...argv], { input, env });
    return { status, stdout: stdout.toString(), stderr: stderr.toString() };
  }

  const dockerfile = 'FROM scratch\nCOPY . /\n';
  const context = gzipSync(
    tar(
      ...[
        { path: 'Dockerfile', text: dockerfile },
        { path: 'other', text: 'FROM scratch\nCOPY none /\n' },
      ],
      ...[
        { path: '.dockerignore', text: 'other\n.*' },
        { path: 'f', text: 'F' },
      ],
    ),
  );

  test('gives the Dockerfile and the context to the command', async () => {
    const { status, stdout } = tsvm(context, '-t', 'made', '-');
    expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/) });
    const made = await shop.open('made');
    expect(await made.files()).toEqual([`644 0:0 /Dockerfile ${JSON.stringify(dockerfile)}`, '644 0:0 /f "F"']);
    expect(tsvm('FROM scratch\nLABEL a=b\n', '-t', 'text', '-').status).toBe(0);
    expect((await shop.open('text')).config).toMatchObject({ Labels: { a: 'b' } });
    shop.write({ f: 'F' });
    expect(tsvm('FROM scratch\nCOPY f /\n', '-t', 'both', '-f', '-', shop.context).status).toBe(0);
    expect(await (await shop.open('both')).files()).toEqual(['644 0:0 /f "F"']);
  });

  test.each<[string, string[], Buffer | string, number, RegExp]>([
    ['two Dockerfiles', ['-f', 'x', '-'], 'FROM scratch', 125, /ambiguous Dockerfile source/],
    ['stdin for both', ['-f', '-', '-'], '', 125, /can't use stdin for both build context and dockerfile/],
    ['no Dockerfile', ['-'], tar({ path: 'f' }), 125, /unable to find the Dockerfile: no such file: Dockerfile\n/],
    ['a file that is not there', ['-f', 'x', '-'], context, 125, /no such file: x\n/],
    ['an archive cut short', ['-'], context.subarray(0, 100), 1, /tsvm: cannot read the context: its gzip data are/],
    [
      'a fault in its Dockerfile',
      ['-f', 'other', '-'],
      context,
      1,
      /other:2\n-+\n.*>>> COPY none.*"\/none": not found/s,
    ],
  ])('%s: one line', (_, argv, input, code, message) => {
    const { status, stdout, stderr } = tsvm(input, '--progress', 'quiet', ...argv);
    expect({ status, stdout, stderr }).toEqual({ status: code, stdout: '', stderr: expect.stringMatching(message) });
  });
});
