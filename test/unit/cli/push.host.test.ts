// `tsvm push` against a real registry: its output and exit codes, kills and full disks.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startFaultyProxy } from '../../fixtures/faulty-proxy.js';
import { type WrittenLayout, writeLayout } from '../../fixtures/oci-layout.js';
import { Random } from '../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../fixtures/registry.js';
import { tar } from '../../fixtures/tar-writer.js';
import { uploadsOf } from '../images/registry/push-scene.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const KILLS = Number(process.env.TSVM_PUSH_KILLS ?? 8);

let folder: string;
let registry: RunningRegistry;
let written: WrittenLayout;
let environment: NodeJS.ProcessEnv;
let repositories = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-cli-push-'));
  const htpasswd = join(folder, 'htpasswd');
  execFileSync('htpasswd', ['-Bbc', htpasswd, 'me', 'secret'], { stdio: 'pipe' });
  registry = await startRegistry(join(folder, 'registry'), { htpasswd });
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  environment = {
    ...process.env,
    TSVM_HOME: join(folder, 'home'),
    DOCKER_CONFIG: join(folder, 'docker'),
    XDG_RUNTIME_DIR: join(folder, 'runtime'),
  };
  const layers = [
    tar([{ path: 'a', data: new Random(1).bytes(300_000) }]),
    tar([{ path: 'b', data: Buffer.alloc(12 << 20, new Random(2).bytes(65_537)) }]),
  ];
  written = writeLayout(join(folder, 'layout'), layers);
  tsvm(['load', '-i', join(folder, 'layout')]);
  tsvm(['login', '-u', 'me', '--password-stdin', registry.host], {}, 'secret\n');
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function tsvm(args: string[], more: NodeJS.ProcessEnv = {}, input = '') {
  const { status, stdout, stderr } = spawnSync(TSVM, args, {
    encoding: 'utf8',
    input,
    env: { ...environment, ...more },
  });
  return { status, stdout, stderr };
}

/** Gives the image a name in a repository of its own, at the registry or a proxy of it. */
function newName(host = registry.host): string {
  const name = `${host}/app${++repositories}:1`;
  expect(tsvm(['tag', written.imageId, name]).status).toBe(0);
  return name;
}

function raw(name: string): string {
  const words = ['inspect', '--raw', '--tls-verify=false', '--creds=me:secret', `docker://${name}`];
  return execFileSync('skopeo', words, { encoding: 'utf8', stdio: 'pipe' });
}

function remote(name: string): { Digest: string; Layers: string[] } {
  const words = ['inspect', '--tls-verify=false', '--creds=me:secret', `docker://${name}`];
  return JSON.parse(execFileSync('skopeo', words, { encoding: 'utf8', stdio: 'pipe' }));
}

const ids = () => written.diffIds.map((diffId) => diffId.slice(7, 19));

test('says what it does on stderr, and the digest on stdout', () => {
  const name = newName();
  const { status, stdout, stderr } = tsvm(['push', name]);
  const [, digest] = /^1: digest: (sha256:[0-9a-f]{64}) size: \d+\n$/.exec(stdout) ?? [];
  expect({ status, digest }).toEqual({ status: 0, digest: remote(name).Digest });
  for (const id of ids())
    expect(stderr).toMatch(new RegExp(`^${id}: Pushing [\\d.]+[kM]B\\n(.*\\n)*${id}: Pushed$`, 'm'));
  expect(stderr.split('\n')).toHaveLength(5);
  const again = tsvm(['push', name]);
  expect(again).toEqual({ status: 0, stdout, stderr: expect.stringMatching(/^(\w{12}: Layer already exists\n){2}$/) });
});

test('says where layers were mounted from', () => {
  tsvm(['push', '-q', newName()]);
  const { stderr } = tsvm(['push', newName()]);
  expect(stderr).toMatch(/^(\w{12}: Mounted from app\d+\n){2}$/);
});

test('with --quiet prints the name only', () => {
  const name = newName();
  expect(tsvm(['push', '--quiet', name])).toEqual({ status: 0, stdout: `${name}\n`, stderr: '' });
});

test('draws bars on a terminal, and leaves lines', () => {
  const name = newName();
  const { stdout } = spawnSync(
    'script',
    ['-qefc', `stty cols 120; ${TSVM} push --compression zstd ${name}`, '/dev/null'],
    {
      encoding: 'utf8',
      env: environment,
    },
  );
  expect(stdout).toMatch(/Pushing \[=*>? *\] .*\/12\.6MB/);
  const last = stdout.slice(stdout.lastIndexOf('\x1b[J') + 3).replaceAll('\r', '');
  expect(last).toMatch(/1: digest: sha256:[0-9a-f]{64} size: \d+\n$/);
  expect(last).not.toContain('Pushing [');
});

test.each([
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
])('with --compression %s compresses layers made here with it', (compression, magic) => {
  const own = { TSVM_HOME: mkdtempSync(join(folder, 'home-')) };
  const root = join(folder, `${compression}.tar`);
  writeFileSync(root, tar([{ path: compression, data: compression }]));
  const name = `${registry.host}/made-${compression}:1`;
  tsvm(['import', root, name], own);
  expect(tsvm(['push', '-q', '--compression', compression, name], own)).toMatchObject({ status: 0, stderr: '' });
  const [layer = ''] = remote(name).Layers;
  expect([...readFileSync(registry.blob(layer)).subarray(0, magic.length)]).toEqual(magic);
});

test('-a pushes all tags of a name, and no other', () => {
  const name = newName().replace(/:1$/, '');
  // None of these images has the name: no one of them is for this machine.
  const platforms = ['--platform', 'linux/arm64,linux/riscv64'];
  expect(tsvm(['build', '-q', ...platforms, '-t', `${name}:3`, '-'], {}, 'FROM scratch\nLABEL a=b\n').status).toBe(0);
  tsvm(['tag', written.imageId, `${name}:2`]);
  tsvm(['tag', written.imageId, `${name}x:1`]);
  const { status, stdout } = tsvm(['push', '-a', name]);
  expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/^(\d: digest: .*\n){3}$/) });
  const { manifests } = JSON.parse(raw(`${name}:3`));
  expect(manifests).toMatchObject([{ platform: { architecture: 'arm64' } }, { platform: { architecture: 'riscv64' } }]);
  expect(remote(`${name}:2`).Digest).toBe(remote(`${name}:1`).Digest);
  expect(() => remote(`${name}x:1`)).toThrow();
});

test.each<[string, (name: string) => string[], RegExp]>([
  ['an unknown image', () => ['nosuch:tag'], /An image does not exist locally with the tag: nosuch:tag$/],
  ['an unknown repository', () => ['-a', 'nosuch'], /An image does not exist locally with the tag: nosuch/],
  ['a digest', (name) => [`${name.replace(/:1$/, '')}@sha256:${'a'.repeat(64)}`], /cannot push a digest reference$/],
  ['all tags of a tag', (name) => ['-a', name], /tag can't be used with --all-tags\/-a/],
  ['an unknown compression', (name) => ['--compression', 'xz', name], /--compression.*gzip, zstd/],
  ['no name', () => [], /missing required argument/],
  ['a bad name', () => ['UPPER'], /repository name must be lowercase|invalid reference format/],
])('one line refuses %s', (_, args, message) => {
  const { status, stdout, stderr } = tsvm(['push', ...args(newName())]);
  expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
  expect(stderr).toMatch(/^tsvm: [^\n]+\n(See 'tsvm[^\n]* --help'\.\n)?$/);
  expect(stderr.split('\n')[0]).toMatch(message);
});

test('one line refuses a push without a login', () => {
  const name = newName();
  const { status, stdout, stderr } = tsvm(['push', name], { DOCKER_CONFIG: join(folder, 'nowhere') });
  expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
  expect(stderr).toMatch(
    /^tsvm: push access denied for \S+: the repository may require 'tsvm login 127\.0\.0\.1:\d+' \([^\n]*\)\n$/,
  );
});

test('inspect and images know the digest that the repository has', () => {
  const name = newName();
  const repository = name.replace(/:1$/, '');
  tsvm(['push', '-q', '--compression', 'zstd', name]);
  const { Digest } = remote(name);
  const [{ RepoDigests }] = JSON.parse(tsvm(['image', 'inspect', name]).stdout);
  expect(RepoDigests.filter((each: string) => each.startsWith(`${repository}@`))).toEqual([`${repository}@${Digest}`]);
  expect(tsvm(['images', '--digests', '--no-trunc', repository]).stdout).toContain(` ${Digest} `);
  expect(JSON.parse(tsvm(['image', 'inspect', `${repository}@${Digest}`]).stdout)[0].Id).toBe(written.imageId);
});

describe('a push that ends early', () => {
  /**
   * Starts a push through a registry that is slow enough to be interrupted.
   *
   * @param after milliseconds; null waits for the first bytes of a layer
   */
  async function interrupted(signal: NodeJS.Signals, after: number | null) {
    const begun = new AbortController();
    await using proxy = await startFaultyProxy(registry.host, {
      hold: ({ method }) => {
        if (method === 'PATCH') begun.abort();
        return sleep(method === 'PATCH' ? 300 : 20);
      },
    });
    const isBegun = once(begun.signal, 'abort');
    // Not by `tsvm login`, which would wait for the proxy while this process waits for it.
    const docker = mkdtempSync(join(folder, 'docker-'));
    const auth = Buffer.from('me:secret').toString('base64');
    writeFileSync(join(docker, 'config.json'), JSON.stringify({ auths: { [proxy.host]: { auth } } }));
    const name = newName(proxy.host);
    const env = { ...environment, DOCKER_CONFIG: docker };
    const child = spawn(TSVM, ['push', '-q', name], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (bytes) => {
      stderr += bytes;
    });
    const closed = once(child, 'close');
    await (after === null ? isBegun : sleep(after));
    child.kill(signal);
    const [code, ending] = await closed;
    return { name, repository: name.slice(proxy.host.length + 1).replace(/:1$/, ''), code, ending, stderr };
  }

  test(`by kill -9, ${KILLS} times, leaves no half image, and the next push works`, async () => {
    const random = new Random(Number(process.env.TSVM_FUZZ_SEED ?? 5));
    let killed = 0;
    for (let round = 0; round < KILLS; round++) {
      const { repository, ending } = await interrupted('SIGKILL', random.below(2500));
      if (ending === 'SIGKILL') killed++;
      const name = `${registry.host}/${repository}:1`;
      let digest: string | null = null;
      try {
        digest = remote(name).Digest;
      } catch {
        // The tag is not there.
      }
      tsvm(['tag', written.imageId, name]);
      const pushed = tsvm(['push', '-q', name]);
      expect(pushed).toEqual({ status: 0, stdout: `${name}\n`, stderr: '' });
      if (digest !== null) expect(remote(name).Digest).toBe(digest);
      const whole = mkdtempSync(join(folder, 'whole-'));
      expect(tsvm(['pull', '-q', name], { TSVM_HOME: whole }).status).toBe(0);
      expect(tsvm(['images', '-q', '--no-trunc'], { TSVM_HOME: whole }).stdout).toBe(`${written.imageId}\n`);
      rmSync(whole, { recursive: true });
    }
    expect(killed).toBeGreaterThan(0);
  });

  test.each<[NodeJS.Signals, number]>([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])('by %s leaves no tag and no upload', async (signal, expected) => {
    const { repository, code, stderr } = await interrupted(signal, null);
    expect({ code, stderr }).toEqual({ code: expected, stderr: `tsvm: ended by ${signal}\n` });
    expect(() => remote(`${registry.host}/${repository}:1`)).toThrow();
    expect(uploadsOf(registry).filter((path) => path.startsWith(`${repository}/`))).toEqual([]);
  });
});

test('on a full disk works, and says nothing of what it could not record', () => {
  const small = mkdtempSync(join(folder, 'small-'));
  const image = writeLayout(join(small, 'layout'), [tar([{ path: 'full', data: new Random(6).bytes(100_000) }])]);
  const name = `${registry.host}/full:1`;
  mkdirSync(join(small, 'disk'));
  const script = `
    mount -t tmpfs -o size=4m none disk
    "$TSVM" load -i layout > /dev/null
    "$TSVM" tag ${image.imageId} ${name}
    dd if=/dev/zero of=disk/filler bs=4k 2> /dev/null
    "$TSVM" push -q --compression zstd ${name} 2>&1; echo "= $?"`;
  const { stdout, stderr } = spawnSync('unshare', ['-m', 'bash', '-c', script], {
    cwd: small,
    encoding: 'utf8',
    env: { ...environment, TSVM, TSVM_HOME: join(small, 'disk/home') },
  });
  expect({ stdout, stderr }).toEqual({ stdout: `${name}\n= 0\n`, stderr: '' });
  expect(remote(name).Layers).toHaveLength(1);
});
