// Proves that a record that a power failure cut short breaks nothing but itself: listings show the
// rest, and what it was of can be removed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { tar } from '../../fixtures/tar-writer.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let folder: string;
let home: string;
let id: string;
let kept: string;

function tsvm(...args: string[]) {
  const env = { ...process.env, TSVM_HOME: home, XDG_RUNTIME_DIR: join(folder, 'runtime') };
  const { status, stdout, stderr } = spawnSync(TSVM, args, { encoding: 'utf8', env });
  return { status, stdout, stderr };
}

const said = (stdout: string) => ({ status: 0, stdout, stderr: '' });
const record = () => join(home, 'containers', id, 'config.json');

/** A home with two containers, an image, two networks and a volume. */
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  mkdirSync(join(folder, 'work'));
  writeFileSync(join(folder, 'root.tar'), tar([{ path: 'hello', data: Buffer.from('hi') }]));
  home = join(folder, 'template');
  for (const words of [
    ['import', join(folder, 'root.tar'), 'small:1'],
    ['network', 'create', 'lan'],
    ['network', 'create', 'wan'],
  ]) {
    expect(tsvm(...words)).toMatchObject({ status: 0, stderr: '' });
  }
  const create = (name: string, ...more: string[]) =>
    tsvm('create', '--kernel', TSVM, '--name', name, ...more, 'small:1', '/hello').stdout.trim();
  id = create('box', '-v', 'data:/data', '-v', `${join(folder, 'work')}:/work`, '--network', 'lan');
  kept = create('kept');
  expect(tsvm('network', 'connect', 'wan', 'box')).toMatchObject({ status: 0, stderr: '' });
});

beforeEach(() => {
  home = join(folder, 'home');
  rmSync(home, { recursive: true, force: true });
  cpSync(join(folder, 'template'), home, { recursive: true, verbatimSymlinks: true });
});

afterAll(() => rmSync(folder, { recursive: true }));

/** The three forms that a file has after a power failure. */
const CUTS: [string, (bytes: Buffer) => Buffer][] = [
  ['empty', () => Buffer.alloc(0)],
  ['half', (bytes) => bytes.subarray(0, bytes.length / 2)],
  ['zeros', (bytes) => Buffer.alloc(bytes.length)],
];

describe.each(CUTS)('%s', (_, cut) => {
  const damage = (path: string) => writeFileSync(path, cut(readFileSync(path)));

  test('the record of a container: others are listed, and it is removed by name', () => {
    damage(record());
    const message = `the record of container ${id.slice(0, 12)} is damaged: tsvm rm removes it\n`;
    expect(tsvm('ps', '-a', '--format', '{{.Names}}')).toEqual({
      ...said('kept\n'),
      stderr: `tsvm: warning: ${message}`,
    });
    expect(tsvm('start', 'box')).toMatchObject({ status: 125, stderr: `tsvm: ${message}` });
    expect(tsvm('df').stdout).toMatch(/^Containers +2 /m);
    expect(tsvm('rm', 'box')).toEqual(said('box\n'));
    expect(tsvm('ps', '-aq', '--no-trunc')).toEqual(said(`${kept}\n`));
    expect(readdirSync(join(home, 'containers', 'names'))).toEqual(['kept']);
  });

  test('the record of a container: it is pruned, and its name and its image are free', () => {
    damage(record());
    expect(tsvm('container', 'prune', '-f', '--filter', 'label=none').stdout).not.toContain(id);
    const { status, stdout } = tsvm('container', 'prune', '-f');
    expect({ status, removed: stdout.split('\n').slice(1, 3).sort() }).toEqual({
      status: 0,
      removed: [id, kept].sort(),
    });
    expect(tsvm('rmi', 'small:1').status).toBe(0);
    expect(tsvm('volume', 'rm', 'data')).toEqual(said('data\n'));
  });

  test('the record of a network: others are listed, and it is removed and made again', () => {
    damage(join(home, 'networks/lan.json'));
    expect(tsvm('network', 'ls', '--format', '{{.Name}}')).toEqual({
      ...said('wan\n'),
      stderr: 'tsvm: warning: the record of the network lan is damaged: tsvm network rm removes it\n',
    });
    const error =
      "tsvm: the record of the network lan is damaged: remove it by 'tsvm network rm lan' and make it again\n";
    expect(tsvm('network', 'inspect', 'lan')).toMatchObject({ status: 125, stderr: error });
    expect(tsvm('start', 'box')).toMatchObject({ status: 125, stderr: error });
    expect(tsvm('network', 'create', 'lan')).toMatchObject({ status: 125 });
    expect(tsvm('network', 'rm', 'lan')).toEqual(said('lan\n'));
    expect(tsvm('network', 'create', 'lan')).toMatchObject({ status: 0, stderr: '' });
  });

  test('the record of a network: it is pruned unless a container is in it', () => {
    damage(join(home, 'networks/lan.json'));
    expect(tsvm('network', 'prune', '-f')).toEqual(said(''));
    tsvm('rm', 'box');
    expect(tsvm('network', 'prune', '-f')).toEqual(said('Deleted Networks:\nwan\nlan\n'));
  });

  test("the list of a container's networks: it does not start with a guess", () => {
    const list = join(home, 'containers', id, 'networks.json');
    damage(list);
    const error = `tsvm: the list of networks of container ${id.slice(0, 12)} is damaged: remove ${list} to `;
    expect(tsvm('start', 'box')).toMatchObject({ status: 125, stderr: expect.stringContaining(error) });
    expect(tsvm('ps', '-aq').status).toBe(0);
    expect(tsvm('inspect', 'box').status).toBe(0);
    expect(tsvm('rm', 'box')).toEqual(said('box\n'));
  });

  test('the list of folders that containers could write: a bind mount says what to do', () => {
    const list = join(home, 'containers/shared-folders.json');
    damage(list);
    expect(tsvm('create', '--kernel', TSVM, '-v', `${folder}:/work`, 'small:1', '/hello')).toEqual({
      ...{ status: 125, stdout: '' },
      stderr: expect.stringMatching(/^tsvm: \S+shared-folders\.json, the list of .*, is damaged: remove it, .*\n$/),
    });
    expect(tsvm('rm', 'box', 'kept').status).toBe(0);
  });

  test('any file of the home: listings work, and all can be removed', () => {
    const files = filesOf(home).filter((path) => !path.endsWith('/_data'));
    expect(files).toEqual(expect.arrayContaining(['containers/events.json', 'volumes/data/volume.json']));
    for (const path of files) damage(join(home, path));
    for (const words of [['ps', '-a'], ['images'], ['volume', 'ls'], ['network', 'ls'], ['df']]) {
      expect({ words, ...tsvm(...words) }).toMatchObject({ words, status: 0 });
    }
    for (const words of [
      ['events', '--until', '0s'],
      ['rm', 'box', 'kept'],
      ['network', 'prune', '-f'],
      ['volume', 'prune', '-af'],
      ['image', 'prune', '-af'],
    ]) {
      expect({ words, ...tsvm(...words) }).toMatchObject({ words, status: 0, stderr: '' });
    }
    expect(readdirSync(join(home, 'volumes'))).toEqual([]);
    expect(readdirSync(join(home, 'networks'))).toEqual([]);
    expect(tsvm('ps', '-aq')).toEqual(said(''));
  });
});

test('a container that does not exist is an error for rm, and none for rm --force; others are removed', () => {
  expect(tsvm('rm', 'none', 'kept')).toEqual({
    status: 125,
    stdout: 'kept\n',
    stderr: 'tsvm: no such container: none\n',
  });
  expect(tsvm('rm', '-f', 'none', 'box')).toEqual(said('box\n'));
});

test('a volume that lost its record keeps its files, and is removed', () => {
  rmSync(join(home, 'volumes/data/volume.json'));
  writeFileSync(join(home, 'volumes/data/_data/file'), 'kept');
  expect(tsvm('volume', 'ls', '-q')).toEqual(said('data\n'));
  expect(tsvm('volume', 'create', 'data')).toEqual(said('data\n'));
  expect(readFileSync(join(home, 'volumes/data/_data/file'), 'utf8')).toBe('kept');
  tsvm('rm', 'box');
  expect(tsvm('volume', 'rm', 'data')).toEqual(said('data\n'));
});

/** The regular files below a folder, relative to it. */
function filesOf(root: string): string[] {
  return (readdirSync(root, { recursive: true, encoding: 'utf8' }) as string[])
    .map((path) => join(root, path))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
    .map((path) => relative(root, path));
}
