// What --output gives: the files of an image in a folder or a tar, and the image as an archive that
// the store reads again. A hostile image writes nowhere out of the folder.
import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseOutputs } from '../../../cli/options/build-output.js';
import { tar } from './archive.js';
import { Workshop } from './made.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let shop: Workshop;
/** Outside of all that a build may write. */
let secret: string;

beforeEach(() => {
  shop = new Workshop();
  secret = join(shop.folder, 'secret');
  mkdirSync(secret);
  const archive = tar(
    ...[
      { path: 'd/', mode: 0o750, uid: 7 },
      { path: 'd/f', text: 'F', mode: 0o4711, uid: 7 },
    ],
    ...[
      { path: 'd/g', type: 'link' as const, linkname: 'd/f' },
      { path: 'n', type: 'fifo' as const },
    ],
    ...[{ path: 'l', type: 'symlink' as const, linkname: secret }],
  );
  shop.write({ Dockerfile: 'FROM scratch\nADD x.tar /\nENV A=b\n' });
  writeFileSync(join(shop.context, 'x.tar'), archive);
});

afterEach(() => shop[Symbol.dispose]());

function tsvm(...argv: string[]) {
  const env = { ...process.env, TSVM_HOME: shop.home.path };
  const { status, stdout, stderr } = spawnSync(TSVM, ['build', '--progress', 'quiet', ...argv, shop.context], { env });
  return { status, stdout, stderr: stderr.toString() };
}

const at = (name: string): string => join(shop.folder, name);
const imageCount = async (): Promise<number> => (await shop.home.images.list()).length;

describe('the files of an image', () => {
  test('go into a folder, over what is there, through no link of it', async () => {
    mkdirSync(at('out/d'), { recursive: true });
    writeFileSync(at('out/d/f'), 'old');
    writeFileSync(at('out/kept'), 'kept');
    expect(tsvm('-t', 'made', '-o', at('out'))).toMatchObject({ status: 0, stdout: Buffer.alloc(0), stderr: '' });
    expect(readdirSync(at('out')).sort()).toEqual(['d', 'kept', 'l']);
    expect(readFileSync(at('out/d/f'), 'utf8')).toBe('F');
    // A set-id bit would give the caller's rights to others.
    expect(statSync(at('out/d/f'))).toMatchObject({ mode: 0o100711, nlink: 2, mtimeMs: 5000 });
    expect(await imageCount()).toBe(0);
    // The link that an image has left leads a later one nowhere.
    shop.write({ Dockerfile: 'FROM scratch\nCOPY Dockerfile /l/\n' });
    const again = tsvm('-o', `type=local,dest=${at('out')}`);
    expect(again).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/^tsvm: cannot overwrite file .*\/l\n$/),
    });
    expect(readdirSync(secret)).toEqual([]);
    expect(lstatSync(at('out/l')).isSymbolicLink()).toBe(true);
    expect(readdirSync(at('out')).sort()).toEqual(['d', 'kept', 'l']);
  });

  test('go into a tar, on stdout too', async () => {
    const { status, stdout, stderr } = tsvm('-o', '-', '--iidfile', at('id'));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const listed = execFileSync('tar', ['-tv', '--numeric-owner'], { input: stdout, env: { TZ: 'UTC' } }).toString();
    expect(listed.split('\n').map((line) => line.replace(/ +\d+ \d{4}-\S+ \S+/, ''))).toEqual([
      'drwxr-x--- 7/0 d/',
      '-rws--x--x 7/0 d/f',
      'hrws--x--x 7/0 d/g link to d/f',
      `lrwxrwxrwx 0/0 l -> ${secret}`,
      'prw-r--r-- 0/0 n',
      '',
    ]);
    expect(readFileSync(at('id'), 'utf8')).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(tsvm('-o', `type=tar,dest=${at('x.tar')}`)).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(at('x.tar'))).toEqual(stdout);
    expect(await imageCount()).toBe(0);
  });
});

test.each([
  ['oci', 'oci-archive', false],
  ['docker', 'docker-archive', true],
])('an image goes into an archive of type %s, with its names, and not into the store', async (type, transport, has) => {
  const first = tsvm('-t', 'made:1', '-o', `type=${type},dest=${at('x.tar')}`);
  expect(first).toMatchObject({ status: 0, stderr: '' });
  const id = first.stdout.toString().trim();
  expect(await imageCount()).toBe(0);
  const names = execFileSync('tar', ['-tf', at('x.tar')])
    .toString()
    .split('\n');
  expect(names.includes('manifest.json')).toBe(has);
  const opened = await shop.open(`${transport}:${at('x.tar')}`);
  expect(opened.id).toBe(id);
  expect(opened.config).toMatchObject({ Env: [expect.stringMatching(/^PATH=/), 'A=b'] });
  const [loaded] = await shop.home.images.load(at('x.tar'));
  expect(loaded).toEqual({ digest: id, names: ['made:1'] });
});

test('several outputs have the same image', async () => {
  const { status, stdout } = tsvm('-t', 'made', '-o', at('out'), '-o', 'type=docker', '-o', `type=oci,dest=${at('o')}`);
  const id = stdout.toString().trim();
  expect(status).toBe(0);
  expect((await shop.open('made')).id).toBe(id);
  expect((await shop.open(`oci-archive:${at('o')}`)).id).toBe(id);
  expect(readFileSync(at('out/d/g'), 'utf8')).toBe('F');
});

test('a place that cannot be written is one line, and leaves nothing', () => {
  writeFileSync(at('file'), '');
  symlinkSync('nowhere', at('dangling'));
  const fails = (output: string, message: RegExp) => {
    const { status, stderr } = tsvm('-o', output);
    expect({ status, stderr }).toEqual({ status: 125, stderr: expect.stringMatching(message) });
  };
  fails(at('file'), /^tsvm: destination .*\/file is not a folder\n/);
  fails(`type=tar,dest=${secret}`, /^tsvm: destination folder .*\/secret given for tar output\n/);
  fails(`type=oci,dest=${at('none/x')}`, /^tsvm: cannot write the output: ENOENT.*\n$/);
  expect(readdirSync(shop.folder).sort()).toEqual(['context', 'dangling', 'file', 'home', 'secret']);
});

test('the words of --output', () => {
  expect(
    parseOutputs(['out', '-', 'type=oci,dest=a=b', 'type=docker', 'type=local,dest=x', 'dest=y,type=tar']),
  ).toEqual([
    ...[
      { type: 'local', dest: 'out' },
      { type: 'tar', dest: '-' },
      { type: 'oci', dest: 'a=b' },
    ],
    ...[
      { type: 'image', dest: undefined },
      { type: 'local', dest: 'x' },
      { type: 'tar', dest: 'y' },
    ],
  ]);
  for (const [text, why] of [
    ['', 'unknown option'],
    ['type=registry', 'expected type=local|tar|oci|docker|image'],
    ['type=local', 'local output needs dest=FOLDER'],
    ['type=local,dest=-', 'local output needs dest=FOLDER'],
    ['type=tar,dest=', 'expected a path as dest'],
    ['type=tar,type=oci', "'type' was given twice"],
    ['type=oci,compression=zstd', "unknown option 'compression=zstd'"],
    ['type=image,dest=x', 'an image goes into the store'],
  ] as const) {
    expect(() => parseOutputs([text])).toThrow(why);
  }
  expect(() => parseOutputs(['-', 'type=oci'])).toThrow('only one output can be written to stdout');
});
