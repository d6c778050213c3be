// Volumes are filled with what the image has at their path, with owners, modes, times and holes.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { plainLayer, writeLayout } from '../../fixtures/oci-layout.js';
import { type TarMember, tar } from '../../fixtures/tar-writer.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

const SPARSE = Buffer.alloc(4 << 20);
SPARSE.write('begin');
SPARSE.write('end', SPARSE.length - 3);

/** The files of the image: a directory with two names, and a file. */
const ROOT: TarMember[] = [
  { path: 'hello', data: 'hi', mode: 0o755 },
  { path: 'srv/', type: '5', mode: 0o755 },
  { path: 'srv/data/', type: '5', mode: 0o2750, uid: 101, gid: 102, mtime: [1e9, 0] },
  { path: 'srv/data/file', data: 'contents', mode: 0o640, uid: 103, gid: 104, mtime: [1234567890, 0] },
  { path: 'srv/data/again', type: '1', link: 'srv/data/file' },
  { path: 'srv/data/out', type: '2', link: '/etc/passwd', uid: 105, gid: 106 },
  { path: 'srv/data/device', type: '3', device: [1, 3] },
  { path: 'srv/data/na\xefve/', type: '5', mode: 0o777 },
  { path: 'srv/data/na\xefve/sparse', data: SPARSE, mode: 0o4755, xattrs: { 'user.note': 'kept' } },
  { path: 'data', type: '2', link: '../srv/./data' },
];
const FILLED = ['again', 'file', 'na\ufffdve', 'out'];

let folder: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
});

afterEach(() => rmSync(folder, { recursive: true }));

function tsvm(...args: string[]) {
  const env = { ...process.env, TSVM_HOME: join(folder, 'home'), XDG_RUNTIME_DIR: join(folder, 'runtime') };
  const { status, stdout, stderr } = spawnSync(TSVM, args, { encoding: 'utf8', env });
  return { status, stdout, stderr };
}

let id: string;

/** Loads the image for the containers. */
function image(volumes: string[], root = ROOT): void {
  const layout = join(folder, 'layout');
  const config = { Volumes: Object.fromEntries(volumes.map((path) => [path, {}])) };
  id = writeLayout(layout, [tar(root)], { compress: plainLayer, config }).imageId;
  expect(tsvm('load', '-i', layout)).toMatchObject({ status: 0 });
}

const create = (...words: string[]) => tsvm('create', '--kernel', TSVM, ...words, id, '/hello');

function made(...words: string[]): string {
  const result = create(...words);
  expect(result).toMatchObject({ status: 0, stderr: '' });
  return result.stdout.trim();
}

const names = (): string[] => tsvm('volume', 'ls', '-q').stdout.split('\n').filter(Boolean);
const mountpoint = (name: string): string => join(folder, 'home/volumes', name, '_data');

test('each VOLUME of an image becomes an anonymous volume with the contents of the image', () => {
  image(['/srv/data', '/var/new/']);
  const mounts = JSON.parse(tsvm('inspect', '--format', '{{json .Mounts}}', made()).stdout);
  expect(mounts).toMatchObject([
    { Type: 'volume', Name: expect.stringMatching(/^[0-9a-f]{64}$/), Destination: '/srv/data', RW: true },
    { Type: 'volume', Name: expect.stringMatching(/^[0-9a-f]{64}$/), Destination: '/var/new', RW: true },
  ]);
  expect(names()).toEqual(mounts.map(({ Name }: { Name: string }) => Name).sort());
  expect(readdirSync(mounts[0].Source).sort()).toEqual(FILLED);
  expect(readdirSync(mounts[1].Source)).toEqual([]);
});

test('copied files keep owners, modes, times, links, attributes and holes; devices are left out', () => {
  image(['/data']);
  made();
  const [volume = ''] = names();
  const at = mountpoint(volume);
  expect(statSync(at)).toMatchObject({ mode: 0o42750, uid: 101, gid: 102, mtimeMs: 1e12 });
  expect(statSync(`${at}/file`)).toMatchObject({
    ...{ mode: 0o100640, uid: 103, gid: 104, nlink: 2, mtimeMs: 1234567890e3 },
    ino: statSync(`${at}/again`).ino,
  });
  expect(readFileSync(`${at}/file`, 'utf8')).toBe('contents');
  expect(readlinkSync(`${at}/out`)).toBe('/etc/passwd');
  expect(lstatSync(`${at}/out`)).toMatchObject({ uid: 105, gid: 106 });
  const sparse = Buffer.concat([Buffer.from(`${at}/na`), Buffer.from([0xef]), Buffer.from('ve/sparse')]);
  expect(statSync(sparse)).toMatchObject({ mode: 0o104755, size: SPARSE.length });
  expect(statSync(sparse).blocks).toBeLessThan(200);
  expect(readFileSync(sparse).equals(SPARSE)).toBe(true);
  const note = spawnSync(
    'python3',
    ['-c', 'import os, sys; print(os.getxattr(sys.stdin.buffer.read(), "user.note"))'],
    {
      input: sparse,
    },
  );
  expect(note.stdout.toString()).toBe("b'kept'\n");
});

test('a mount or tmpfs at the path of a VOLUME replaces it', () => {
  image(['/srv/data', '/var/a', '/var/b', '/var/c']);
  mkdirSync(join(folder, 'host'));
  made('-v', 'mine:/srv//data', '-v', `${folder}/host:/var/a`, '--tmpfs', '/var/b/');
  expect(names()).toHaveLength(2);
  expect(readdirSync(mountpoint('mine')).sort()).toEqual(FILLED);
  expect(readdirSync(join(folder, 'host'))).toEqual([]);
});

describe('a volume that is mounted for the first time', () => {
  test.each<[string, string[]]>([
    ['named', ['-v', 'mine:/srv/data']],
    ['read-only', ['-v', 'mine:/srv/data:ro']],
    ['by a path that is a symbolic link', ['--mount', 'src=mine,dst=/data']],
  ])('%s, is filled', (_, words) => {
    image([]);
    made(...words);
    expect(readdirSync(mountpoint('mine')).sort()).toEqual(FILLED);
  });

  test.each<[string, string[]]>([
    ['nocopy', ['-v', 'mine:/srv/data:nocopy']],
    ['volume-nocopy', ['--mount', 'src=mine,dst=/srv/data,volume-nocopy']],
    ['a path that the image does not have', ['-v', 'mine:/nosuch']],
  ])('with %s, starts empty', (_, words) => {
    image([]);
    made(...words);
    expect(readdirSync(mountpoint('mine'))).toEqual([]);
    expect(statSync(mountpoint('mine')).mode).toBe(0o40755);
  });

  test('and was created before, is filled if it is empty', () => {
    image([]);
    tsvm('volume', 'create', '-l', 'team=a', 'mine');
    tsvm('volume', 'create', 'full');
    writeFileSync(join(mountpoint('full'), 'own'), '');
    made('-v', 'mine:/srv/data', '-v', 'full:/srv');
    expect(readdirSync(mountpoint('mine')).sort()).toEqual(FILLED);
    expect(readdirSync(mountpoint('full'))).toEqual(['own']);
    expect(JSON.parse(tsvm('volume', 'inspect', 'mine').stdout)[0].Labels).toEqual({ team: 'a' });
  });

  test('and is used by another container, is not filled', () => {
    image([]);
    made('-v', 'mine:/nosuch');
    made('-v', 'mine:/srv/data');
    expect(readdirSync(mountpoint('mine'))).toEqual([]);
  });
});

describe('VOLUMEs within one another', () => {
  /** `count` directories in one another, and a file of `bytes` in the innermost. */
  const nested = (count: number, bytes: number): { paths: string[]; root: TarMember[] } => {
    const paths = Array.from({ length: count }, (_, depth) => '/d'.repeat(depth + 1));
    return {
      paths,
      root: [
        { path: 'hello', data: 'hi', mode: 0o755 },
        ...paths.map((path): TarMember => ({ path: path.slice(1), type: '5', mode: 0o750, uid: 101 })),
        { path: `${paths.at(-1)!.slice(1)}/file`, data: Buffer.alloc(bytes, 'A') },
      ],
    };
  };
  const used = (): number =>
    Number.parseInt(spawnSync('du', ['-s', '-B1', join(folder, 'home/volumes')], { encoding: 'utf8' }).stdout, 10);

  test('have a copy of each file of the image once, where it is seen', () => {
    const { paths, root } = nested(40, 1 << 20);
    image(paths, root);
    const mounts = JSON.parse(tsvm('inspect', '--format', '{{json .Mounts}}', made()).stdout);
    expect(names()).toHaveLength(40);
    for (const { Destination, Source } of mounts) {
      const last = Destination === paths.at(-1);
      expect(readdirSync(Source)).toEqual([last ? 'file' : 'd']);
      expect(statSync(last ? `${Source}/file` : `${Source}/d`).size).toBeGreaterThan(0);
      if (!last) expect(statSync(`${Source}/d`)).toMatchObject({ mode: 0o40750, uid: 101 });
      if (!last) expect(readdirSync(`${Source}/d`)).toEqual([]);
    }
    expect(used()).toBeLessThan(3 << 20);
  });

  test('leave out what any other mount covers; siblings and files stay', () => {
    mkdirSync(join(folder, 'host'));
    const files = ['a/b/c/x', 'a/b/y', 'a/bb/z', 'a/t/u', 'a/h/v', 'a/file'];
    const folders = ['a', 'a/b', 'a/b/c', 'a/bb', 'a/t', 'a/h'];
    image(
      ['/a', '/a/b/c', '/a/file/none'],
      [
        { path: 'hello', data: 'hi', mode: 0o755 },
        ...folders.map((path): TarMember => ({ path, type: '5', mode: 0o755 })),
        ...files.map((path): TarMember => ({ path, data: path })),
      ],
    );
    const id = made('--tmpfs', '/a/t', '-v', `${folder}/host:/a//h/`);
    const mounts = JSON.parse(tsvm('inspect', '--format', '{{json .Mounts}}', id).stdout);
    const sources = new Map<string, string>(
      mounts.map(({ Destination, Source }: Record<string, string>) => [Destination, Source]),
    );
    const found = spawnSync('find', ['.', '-type', 'f'], { cwd: sources.get('/a')!, encoding: 'utf8' });
    expect(found.stdout.split('\n').filter(Boolean).sort()).toEqual(['./b/y', './bb/z', './file']);
    for (const empty of ['b/c', 't', 'h']) expect(readdirSync(join(sources.get('/a')!, empty))).toEqual([]);
    expect(readdirSync(sources.get('/a/b/c')!)).toEqual(['x']);
  });

  test('do not shorten a named volume, which may be mounted elsewhere', () => {
    image(['/srv/data']);
    made('-v', 'mine:/srv');
    expect(readdirSync(join(mountpoint('mine'), 'data')).sort()).toEqual(FILLED);
    const [other] = names().filter((name) => name !== 'mine');
    expect(readdirSync(mountpoint(other!)).sort()).toEqual(FILLED);
  });

  test('that reach the same files by symbolic links are refused beyond a limit, which leaves nothing', () => {
    const { root } = nested(1, 16 << 20);
    const links = Array.from({ length: 20 }, (_, number) => `/l${number}`);
    image(links, [...root, ...links.map((path): TarMember => ({ path: path.slice(1), type: '2', link: '/d' }))]);
    expect(create()).toEqual({
      status: 125,
      stdout: '',
      stderr: "tsvm: the image's VOLUMEs have more than 268435456 bytes in common\n",
    });
    expect(readdirSync(join(folder, 'home/volumes'))).toEqual([]);
    // 17 copies, of which 16 repeat the first, are at the limit.
    made(...links.slice(17).flatMap((path) => ['--tmpfs', path]));
    expect(names()).toHaveLength(17);
  });
});

test('rm keeps anonymous volumes and rm -v removes them; named volumes stay', () => {
  image(['/srv/data']);
  const [first, second, third] = [made('-v', 'mine:/m', '-v', '/own'), made(), made()];
  const [shared] = JSON.parse(tsvm('inspect', '--format', '{{json .Mounts}}', second).stdout);
  const user = made('-v', `${shared.Name}:/srv/data`);
  expect(names()).toHaveLength(5);
  expect(tsvm('rm', '-v', first)).toMatchObject({ status: 0, stderr: '' });
  expect(names()).toHaveLength(3);
  // Somebody has it by its name now.
  expect(tsvm('rm', '--volumes', second)).toMatchObject({ status: 0, stderr: '' });
  expect(tsvm('rm', third, user)).toMatchObject({ status: 0, stderr: '' });
  expect(names()).toHaveLength(3);
  expect(tsvm('volume', 'prune', '-f')).toMatchObject({ status: 0 });
  expect(names()).toEqual(['mine']);
});

test('a container that cannot be created leaves no anonymous volumes', () => {
  image(['/srv/data']);
  made('--name', 'box');
  expect(create('--name', 'box')).toMatchObject({ status: 125, stdout: '' });
  expect(names()).toHaveLength(1);
  expect(readdirSync(join(folder, 'home/volumes'))).toHaveLength(1);
});

test('a process killed while it fills a new volume leaves no volume, or an empty one as it was', async () => {
  image([]);
  const env = { ...process.env, TSVM_HOME: join(folder, 'home'), XDG_RUNTIME_DIR: join(folder, 'runtime') };
  const volumes = join(folder, 'home/volumes');
  mkdirSync(volumes);
  for (const found of [[], ['mine']]) {
    const child = spawn(TSVM, ['create', '--kernel', TSVM, '-v', 'mine:/srv/data', id, '/hello'], { env });
    const ended = once(child, 'close');
    while (!readdirSync(volumes).some((name) => name.startsWith('.'))) await sleep(1);
    child.kill('SIGKILL');
    expect(await ended).toEqual([null, 'SIGKILL']);
    expect(names()).toEqual(found);
    if (found.length > 0) expect(readdirSync(mountpoint('mine'))).toEqual([]);
    tsvm('volume', 'create', 'mine');
  }
  made('-v', 'mine:/srv/data');
  expect(readdirSync(mountpoint('mine')).sort()).toEqual(FILLED);
});

test.each<[string, string[], string]>([
  ['a VOLUME that is a file', ['/hello'], 'tsvm: /hello is not a directory in the image\n'],
  ['the root', ['//'], 'tsvm: the image\'s VOLUME "//" is not a valid path for a volume\n'],
  ['a way out', ['/a/../../b'], 'tsvm: the image\'s VOLUME "/a/../../b" is not a valid path for a volume\n'],
  ['too many', Array.from({ length: 257 }, (_, n) => `/${n}`), 'tsvm: the image has 257 VOLUMEs; the limit is 256\n'],
])('one clear line and exit code 125 for %s', (_, volumes, stderr) => {
  image(volumes);
  expect(create()).toEqual({ status: 125, stdout: '', stderr });
  expect(names()).toEqual([]);
});

/** `tsvm create` in other circumstances: the words begin with what makes them. */
function createIn(circumstances: string[], ...words: string[]) {
  const env = { ...process.env, TSVM_HOME: join(folder, 'home'), XDG_RUNTIME_DIR: join(folder, 'runtime') };
  const argv = [...circumstances, TSVM, 'create', '--kernel', TSVM, ...words, id, '/hello'];
  return spawnSync('unshare', argv, { encoding: 'utf8', env });
}

test('if the home is read-only, VOLUMEs are part of the writable layer', () => {
  image(['/srv/data']);
  const home = join(folder, 'home');
  const script = `mount --bind ${home} ${home} && mount -o remount,bind,ro ${home} && exec "$0" "$@"`;
  expect(createIn(['-m', 'sh', '-c', script], '--rm')).toMatchObject({ status: 0, stderr: '' });
  expect(names()).toEqual([]);
});

test('the same holds for users other than root; their new volumes have the contents without the owners', () => {
  image(['/srv/data']);
  const user = ['--user', '--map-user=1000', '--map-group=1000'];
  expect(createIn(user, '-v', 'mine:/data')).toMatchObject({ status: 0, stderr: '' });
  expect(names()).toEqual(['mine']);
  const at = mountpoint('mine');
  expect(readdirSync(at).sort()).toEqual(FILLED);
  expect(statSync(`${at}/file`)).toMatchObject({ mode: 0o100640, uid: process.geteuid!(), gid: process.getegid!() });
});
