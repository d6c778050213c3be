// The commands of images, on stores with two images that share a layer.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { tar } from '../../fixtures/tar-writer.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let folder: string;
let home: string;
/** The short IDs of two images that share a layer. */
let first: string;
let second: string;

beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  const base = tar([{ path: 'base', data: Buffer.alloc(100_000, 1) }]);
  const layout = (name: string, label: string) =>
    writeLayout(join(folder, name), [base, tar([{ path: name, data: name }])], {
      tag: `${name}:1`,
      config: { Cmd: ['/hello'], Labels: { kind: label } },
    }).imageId.slice(7, 19);
  first = layout('first', 'a');
  second = layout('second', 'b');
});

beforeEach(() => {
  home = mkdtempSync(join(folder, 'home-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

function tsvm(args: string[], input?: Buffer | string) {
  const env = { ...process.env, TSVM_HOME: home };
  const { status, stdout, stderr } = spawnSync(TSVM, args, { input, env, maxBuffer: 2 ** 26 });
  return { status, stdout: stdout.toString(), stderr: stderr.toString(), bytes: stdout };
}

/** The output of a command that must succeed without messages. */
function said(...args: string[]): string {
  const { status, stdout, stderr } = tsvm(args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

function loadBoth(): void {
  expect(said('load', '-i', join(folder, 'first'))).toBe('Loaded image: first:1\n');
  expect(said('load', '-i', join(folder, 'second'))).toBe('Loaded image: second:1\n');
}

describe('images', () => {
  test('are selected by filters', () => {
    loadBoth();
    said('tag', 'first:1', 'example.org/team/first');
    expect(said('images', '-q', '-f', 'reference=first')).toBe(`${first}\n`);
    expect(said('images', '-q', 'second:*')).toBe(`${second}\n`);
    expect(said('images', '-q', '-f', 'label=kind=b')).toBe(`${second}\n`);
    expect(said('images', '-q', '-f', 'dangling=true')).toBe('');
    expect(said('images', '--format', '{{.Repository}}', '-f', 'reference=*/*/first')).toBe('example.org/team/first\n');
    const { status, stderr } = tsvm(['images', '-f', 'before=nosuch']);
    expect({ status, stderr }).toEqual({ status: 125, stderr: 'tsvm: No such image: nosuch\n' });
  });

  test('show IDs and manifests in full when asked', () => {
    loadBoth();
    const { stdout } = tsvm(['images', '--digests', '--no-trunc', 'first']);
    expect(stdout).toMatch(
      new RegExp(`^REPOSITORY +TAG +DIGEST +IMAGE ID .*\nfirst +1 +sha256:[0-9a-f]{64} +sha256:${first}[0-9a-f]{52} `),
    );
  });

  test('report the size that they share', () => {
    loadBoth();
    const [one, two] = said('images', '--format', 'json')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(one.SharedSize).toBe(two.SharedSize);
    expect(Number.parseFloat(one.SharedSize)).toBeGreaterThan(100);
    expect(said('df')).toMatch(
      /^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE\nImages +2 +0 +\d+kB +\d+kB \(100%\)\nContainers +0 +0 +0B +0B\nLocal Volumes +0 .*\nSnapshots +0 .*\nTemplates +0 /,
    );
    expect(said('df', '--verbose')).toMatch(/SHARED SIZE +UNIQUE SIZE\n(first|second) /);
  });
});

describe('save and load', () => {
  test('carry images with all their names through a pipe', () => {
    loadBoth();
    said('tag', first, 'again:2');
    const { bytes, status } = tsvm(['save', 'first:1', 'again:2', 'second:1']);
    expect(status).toBe(0);
    expect(said('rmi', '-f', first, second)).toMatch(/Untagged: again:2\nUntagged: first:1\nDeleted: sha256:/);
    expect(said('images', '-q')).toBe('');
    expect(tsvm(['load'], bytes).stdout).toBe('Loaded image: first:1\nLoaded image: again:2\nLoaded image: second:1\n');
    expect(said('images', '-q', 'again').trimEnd()).toBe(first);
  });

  test('write the file only when it is complete', () => {
    loadBoth();
    const file = join(folder, 'saved.tar');
    writeFileSync(file, 'as it was');
    const { status, stderr } = tsvm(['save', '-o', file, 'first:1', 'nosuch']);
    expect({ status, stderr }).toEqual({ status: 125, stderr: 'tsvm: No such image: nosuch:latest\n' });
    expect(readFileSync(file, 'utf8')).toBe('as it was');
    said('save', '-o', file, first);
    expect(said('load', '-i', file)).toMatch(/^Loaded image ID: sha256:/);
    expect(existsSync(`${file}.partial`)).toBe(false);
  });

  test('report an invalid archive in one line', () => {
    const notTar = 'cannot load the archive: it is not a tar archive';
    expect(tsvm(['load'], 'x'.repeat(1000)).stderr).toBe(`tsvm: ${notTar}\n`);
    expect(tsvm(['load'], tar([{ path: 'a' }])).stderr).toMatch(/^tsvm: cannot load .* has no manifest\.json\n$/);
    expect(tsvm(['load', '-i', '/nosuch']).stderr).toBe('tsvm: cannot load /nosuch: no such file\n');
  });
});

describe('inspect', () => {
  test("prints the details of an image in Docker's form", () => {
    loadBoth();
    const [found] = JSON.parse(said('inspect', 'first:1'));
    expect(found).toMatchObject({
      Id: expect.stringContaining(first),
      RepoTags: ['first:1'],
      RepoDigests: [expect.stringMatching(/^first@sha256:/)],
      Config: { Cmd: ['/hello'], Env: null, Labels: { kind: 'a' } },
      Os: 'linux',
      RootFS: { Type: 'layers', Layers: [expect.any(String), expect.any(String)] },
    });
    expect(said('inspect', '-f', '{{.Config.Cmd}}', first, second)).toBe('[/hello]\n[/hello]\n');
  });

  test('prints what it finds and reports the rest', () => {
    loadBoth();
    const { status, stdout, stderr } = tsvm(['image', 'inspect', '--format', '{{.Os}}', 'nosuch', first]);
    expect({ status, stdout, stderr }).toEqual({
      status: 125,
      stdout: 'linux\n',
      stderr: 'tsvm: No such object: nosuch\n',
    });
  });
});

test('history shows the steps, last first', () => {
  loadBoth();
  expect(said('history', first)).toMatch(
    new RegExp(`^IMAGE +CREATED +CREATED BY +SIZE +COMMENT\n${first} +.*\n<missing> `),
  );
});

describe('rmi', () => {
  test('keeps the image of a container, and not that of one whose maker was killed', () => {
    loadBoth();
    const id = said('create', 'second:1').trim();
    const holders = join(home, 'store-2/holders');
    // Its image was held, and nothing else was there.
    copyFileSync(join(holders, id), join(holders, 'a'.repeat(64)));
    const refused = tsvm(['rmi', 'second:1']);
    expect(refused.status).toBe(125);
    expect(refused.stderr).toContain(`image is being used by container ${id.slice(0, 12)}\n`);
    expect(readdirSync(holders)).toEqual([id]);
    copyFileSync(join(holders, id), join(holders, 'a'.repeat(64)));
    said('rm', id);
    expect(said('rmi', 'second:1')).toMatch(/^Untagged: second:1\nDeleted: sha256:/);
    expect(readdirSync(holders)).toEqual([]);
  });

  test('goes on after a missing image, and ignores it with -f', () => {
    loadBoth();
    const { status, stdout, stderr } = tsvm(['rmi', 'nosuch', 'first:1', second]);
    expect({ status, stderr }).toEqual({ status: 125, stderr: 'tsvm: No such image: nosuch:latest\n' });
    expect(stdout).toMatch(/^Untagged: first:1\nDeleted: .*\nDeleted: .*\nUntagged: second:1\nDeleted: /);
    expect(tsvm(['rmi', '-f', 'nosuch']).status).toBe(0);
  });
});

describe('prune', () => {
  test('asks for confirmation', () => {
    loadBoth();
    const { status, stderr } = tsvm(['prune', '-a'], 'n\n');
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining('[y/N]') });
    expect(tsvm(['prune', '-a'], '').status).toBe(0);
    expect(said('images', '-q').split('\n')).toHaveLength(3);
    expect(tsvm(['prune', '-a'], 'y\n').stdout).toMatch(/untagged: first:1\n.*Total reclaimed space: \d+kB\n$/s);
    expect(said('images', '-q')).toBe('');
  });

  test('removes images without a name, and with -a and a filter those with the label', () => {
    loadBoth();
    said('tag', 'second:1', 'first:1');
    expect(said('prune', '-f')).toMatch(new RegExp(`^Deleted Images:\ndeleted: sha256:${first}`));
    expect(said('image', 'prune', '-af', '--filter', 'label=kind=a')).toBe('Total reclaimed space: 0B\n');
    expect(said('images', '-q', 'second')).toBe(`${second}\n`);
    expect(said('prune', '-af', '--filter', 'label=kind=b')).toContain('untagged: second:1\n');
  });
});
