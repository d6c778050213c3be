// The commands of volumes, with containers that never run.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { tar } from '../../fixtures/tar-writer.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let folder: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
});

afterEach(() => rmSync(folder, { recursive: true }));

function tsvm(args: string[], input = '', more: NodeJS.ProcessEnv = {}) {
  const env = { ...process.env, ...more, TSVM_HOME: join(folder, 'home'), XDG_RUNTIME_DIR: join(folder, 'runtime') };
  const { status, stdout, stderr } = spawnSync(TSVM, args, { encoding: 'utf8', env, input });
  return { status, stdout, stderr };
}

const volume = (...args: string[]) => tsvm(['volume', ...args]);
const said = (stdout: string) => ({ status: 0, stdout, stderr: '' });

/** Creates a container of a small image. It never runs. */
function container(...mounts: string[]): string {
  writeFileSync(join(folder, 'root.tar'), tar([{ path: 'hello', data: Buffer.from('hi') }]));
  tsvm(['import', join(folder, 'root.tar'), 'small:1']);
  const made = tsvm(['create', '--kernel', TSVM, ...mounts.flatMap((text) => ['-v', text]), 'small:1', '/hello']);
  expect(made).toMatchObject({ status: 0, stderr: '' });
  return made.stdout.trim();
}

test('other users of the host cannot reach a volume, where a guest may leave set-user-ID programs', () => {
  expect(tsvm(['volume', 'create', 'data']).status).toBe(0);
  for (const path of ['volumes', 'volumes/data']) {
    expect(statSync(join(folder, 'home', path)).mode & 0o777).toBe(0o700);
  }
});

test('a volume is created once, listed, inspected and removed', () => {
  expect(volume('ls')).toEqual(said('DRIVER   VOLUME NAME\n'));
  expect(volume('create', '-l', 'team=a', 'data')).toEqual(said('data\n'));
  expect(volume('create', 'data')).toEqual(said('data\n'));
  expect(volume('create', 'cache')).toEqual(said('cache\n'));
  expect(volume('ls')).toEqual(said('DRIVER   VOLUME NAME\nlocal    cache\nlocal    data\n'));
  expect(volume('ls', '-q')).toEqual(said('cache\ndata\n'));
  expect(volume('ls', '-q', '--filter', 'label=team=a')).toEqual(said('data\n'));
  expect(volume('ls', '-q', '-f', 'name=cac')).toEqual(said('cache\n'));
  expect(volume('ls', '--format', '{{.Name}} {{.Scope}}')).toEqual(said('cache local\ndata local\n'));
  const [about] = JSON.parse(volume('inspect', 'data').stdout);
  expect(about).toEqual({
    CreatedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    Driver: 'local',
    Labels: { team: 'a' },
    Mountpoint: join(folder, 'home/volumes/data/_data'),
    Name: 'data',
    Options: {},
    Scope: 'local',
  });
  expect(volume('inspect', '-f', '{{.Mountpoint}}', 'data')).toEqual(said(`${about.Mountpoint}\n`));
  writeFileSync(join(about.Mountpoint, 'file'), 'contents');
  expect(volume('rm', 'data', 'cache')).toEqual(said('data\ncache\n'));
  expect(existsSync(about.Mountpoint)).toBe(false);
  expect(volume('ls', '-q')).toEqual(said(''));
});

test('a volume has the bounds that it was made with', () => {
  expect(volume('create', '--size', '1g', '--inodes', '5000', 'data')).toEqual(said('data\n'));
  expect(volume('create', '-o', 'size=64m', '--opt', 'inodes=7', 'small')).toEqual(said('small\n'));
  expect(volume('create', 'data')).toEqual(said('data\n'));
  expect(volume('create', '--size', '1g', 'data')).toEqual(said('data\n'));
  const has = 'at most 1073741824 bytes and 5000 inodes';
  const taken = `tsvm: the volume data exists with ${has}, not at most 2147483648 bytes and 5000 inodes\n`;
  expect(volume('create', '--size', '2g', 'data')).toEqual({ status: 125, stdout: '', stderr: taken });
  const [about] = JSON.parse(volume('inspect', 'data').stdout);
  expect(about).toMatchObject({ Options: { size: '1073741824', inodes: '5000' }, Status: { inodes: 1 } });
  const made = volume('inspect', '-f', '{{.Options.size}} {{.Options.inodes}}', 'small');
  expect(made).toEqual(said('67108864 7\n'));
  volume('create', 'free');
  expect(
    volume('ls')
      .stdout.split('\n')
      .map((line) => line.split(/ {2,}/)),
  ).toEqual([
    ['DRIVER', 'VOLUME NAME', 'SIZE LIMIT', 'INODE LIMIT'],
    ['local', 'data', '1.07GB', '5000'],
    ['local', 'free', '-', '-'],
    ['local', 'small', '67.1MB', '7'],
    [''],
  ]);
});

test('a volume that --mount makes has the bounds of its options, and one that exists must have them', () => {
  container();
  const create = (fields: string) => tsvm(['create', '--kernel', TSVM, '--mount', fields, 'small:1', '/hello']);
  const bounds = () => volume('inspect', '-f', '{{.Options.size}} {{.Options.inodes}}', 'data').stdout;
  expect(create('src=data,dst=/data,volume-opt=size=64m,volume-opt=inodes=100').status).toBe(0);
  expect(bounds()).toBe('67108864 100\n');
  expect(create('src=data,dst=/data,volume-opt=size=64m').status).toBe(0);
  expect(create('src=data,dst=/data').status).toBe(0);
  expect(create('src=data,dst=/data,volume-opt=size=1g')).toEqual({
    status: 125,
    stdout: '',
    stderr:
      'tsvm: the volume data exists with at most 67108864 bytes and 100 inodes, ' +
      'not at most 1073741824 bytes and 100 inodes\n',
  });
  volume('create', 'free');
  expect(create('src=free,dst=/data,volume-opt=inodes=5').stderr).toBe(
    'tsvm: the volume free exists with no bounds, not at most 5 inodes\n',
  );
  const before = volume('ls', '-q').stdout.split('\n');
  expect(create('type=volume,dst=/data,volume-opt=size=1m').status).toBe(0);
  const [anonymous = ''] = volume('ls', '-q')
    .stdout.split('\n')
    .filter((name) => !before.includes(name));
  expect(volume('inspect', '-f', '{{.Options.size}}', anonymous).stdout).toBe('1048576\n');
});

test('df shows how full a home is that has a size, and a full one takes no container', () => {
  expect(tsvm(['df']).stdout).not.toContain('Home:');
  expect(tsvm(['df'], '', { TSVM_HOME_SIZE: '1g' }).stdout).toMatch(
    /\nHome: [\d.]+(kB|B|MB) of 1\.07GB \(TSVM_HOME_SIZE\)\n$/,
  );
  container('data:/data');
  const words = ['create', '--kernel', TSVM, 'small:1', '/hello'];
  const { status, stdout, stderr } = tsvm(words, '', { TSVM_HOME_SIZE: '1k' });
  expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
  expect(stderr).toMatch(/^tsvm: the home has \d+ of 1024 bytes \(TSVM_HOME_SIZE\): see 'tsvm df'[^\n]*\n$/);
});

test.each([
  [['--size', '0'], "invalid argument '0' for --size: must be above 0"],
  [['--size', 'big'], "invalid argument 'big' for --size: expected a size such as 512m or 2g"],
  [['--inodes', '-1'], "invalid argument '-1' for --inodes: expected a number"],
  [['-o', 'size'], "invalid argument '' for --opt size: expected a size such as 512m or 2g"],
  [['-o', 'type=tmpfs'], "invalid argument 'type=tmpfs' for --opt: expected size=SIZE or inodes=N"],
])('volume create %j is refused', (args, message) => {
  const { status, stderr } = volume('create', ...args, 'data');
  expect({ status, stderr: stderr.split('\n')[0] }).toEqual({ status: 125, stderr: `tsvm: ${message}` });
  expect(volume('ls', '-q')).toEqual(said(''));
});

test("an image's files that do not fit into a volume are refused", () => {
  volume('create', '--inodes', '2', 'data');
  writeFileSync(
    join(folder, 'root.tar'),
    tar([
      { path: 'srv/one', data: Buffer.from('1') },
      { path: 'srv/two', data: Buffer.from('2') },
    ]),
  );
  tsvm(['import', join(folder, 'root.tar'), 'small:1']);
  const refused = tsvm(['create', '--kernel', TSVM, '-v', 'data:/srv', 'small:1', '/hello']);
  expect(refused).toMatchObject({ status: 125, stdout: '' });
  expect(refused.stderr).toMatch(
    /^tsvm: the image's files do not fit into the volume data: they take \d+ bytes, 3 inodes\n$/,
  );
});

test('a volume that a container uses cannot be removed', () => {
  volume('create', 'data');
  volume('create', 'other');
  const id = container('data:/data', '/tmp:/tmp');
  const refused = { status: 125, stdout: 'other\n', stderr: `tsvm: volume is in use: data: [${id}]\n` };
  expect(volume('rm', 'data', 'other')).toEqual(refused);
  expect(volume('ls', '-q', '-f', 'dangling=false')).toEqual(said('data\n'));
  volume('create', 'other');
  expect(volume('prune', '-a', '-f')).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('Deleted Volumes:\nother\n'),
  });
  tsvm(['rm', id]);
  expect(volume('rm', 'data')).toEqual(said('data\n'));
});

test('prune asks for confirmation, and reports the reclaimed space', () => {
  volume('create', 'data');
  const path = volume('inspect', '-f', '{{.Mountpoint}}', 'data').stdout.trim();
  execFileSync('dd', ['if=/dev/urandom', `of=${path}/file`, 'bs=1000', 'count=2000', 'status=none']);
  expect(tsvm(['volume', 'prune', '-a'], 'n\n')).toMatchObject({ status: 0, stdout: '' });
  expect(volume('ls', '-q')).toEqual(said('data\n'));
  expect(volume('prune', '-af', '--filter', 'label=none').stdout).toBe('Total reclaimed space: 0B\n');
  expect(tsvm(['volume', 'prune', '--all'], 'y\n').stdout).toMatch(
    /^Deleted Volumes:\ndata\n\nTotal reclaimed space: 2(\.\d+)?MB\n$/,
  );
});

test('leftovers of a crash are not volumes, and prune removes them', () => {
  volume('create', 'data');
  const left = join(folder, 'home/volumes/.data-0123456789abcdef');
  mkdirSync(join(left, '_data'), { recursive: true });
  expect(volume('ls', '-q')).toEqual(said('data\n'));
  // Another process may still be working on it.
  expect(volume('prune', '-f')).toMatchObject({ status: 0 });
  expect(existsSync(left)).toBe(true);
  utimesSync(left, 0, 0);
  expect(volume('prune', '-f')).toMatchObject({ status: 0 });
  expect(existsSync(left)).toBe(false);
});

test("what is not a volume's folder is left alone and keeps nothing else from being listed or removed", () => {
  expect(volume('create', 'data')).toEqual(said('data\n'));
  for (const name of ['lost+found', 'x', 'a b']) mkdirSync(join(folder, 'home/volumes', name));
  expect(volume('ls', '-q')).toEqual(said('data\n'));
  expect(tsvm(['df', '--format', '{{.Type}} {{.TotalCount}}'])).toMatchObject({
    ...{ status: 0, stderr: '' },
    stdout: expect.stringContaining('Local Volumes 1\n'),
  });
  expect(volume('prune', '-a', '-f')).toMatchObject({ status: 0, stderr: '' });
  expect(readdirSync(join(folder, 'home/volumes')).sort()).toEqual(['a b', 'lost+found', 'x']);
});

test('a volume whose record was lost with the power is listed with the others, used and removed', () => {
  volume('create', 'data');
  writeFileSync(join(folder, 'home/volumes/data/volume.json'), '');
  expect(volume('ls', '-q')).toEqual(said('data\n'));
  expect(tsvm(['df'])).toMatchObject({ status: 0, stderr: '' });
  expect(volume('rm', 'data')).toEqual(said('data\n'));
});

test('an anonymous volume has a random name, and prune removes it', () => {
  const name = volume('create').stdout.trim();
  expect(name).toMatch(/^[0-9a-f]{64}$/);
  volume('create', 'data');
  expect(volume('prune', '-f').stdout).toContain(`Deleted Volumes:\n${name}\n\nTotal`);
  expect(volume('ls', '-q')).toEqual(said('data\n'));
});

test.each<[string, string[], string]>([
  ['an invalid name', ['create', 'a'], "invalid volume name 'a'"],
  ['a path', ['create', '../etc'], "invalid volume name '../etc'"],
  ['a missing volume', ['rm', 'nosuch'], 'no such volume: nosuch'],
  ['inspecting a missing volume', ['inspect', 'nosuch'], 'no such volume: nosuch'],
  ['no name', ['rm'], "missing required argument 'VOLUME'"],
  ['an unknown filter', ['ls', '-f', 'color=red'], 'expected one of name, label, dangling'],
])('one clear line and exit code 125 for %s', (_, args, message) => {
  const { status, stderr } = volume(...args);
  expect(status).toBe(125);
  expect(stderr).toContain(message);
  expect(stderr).toMatch(/^tsvm: [^\n]+\n(See 'tsvm[^\n]* --help'\.\n)?$/);
});

test('rm --force ignores missing volumes', () => {
  expect(volume('rm', '-f', 'nosuch')).toEqual(said(''));
});
