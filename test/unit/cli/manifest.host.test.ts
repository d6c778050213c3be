// `tsvm manifest` against real registries: lists of images for several platforms are made, pushed
// with all that they name, and read by tsvm, skopeo and podman.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startFaultyProxy } from '../../fixtures/faulty-proxy.js';
import { sha256, type WrittenLayout, writeLayout } from '../../fixtures/oci-layout.js';
import { Random } from '../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../fixtures/registry.js';
import { tar } from '../../fixtures/tar-writer.js';
import { tagsOf, uploadsOf } from '../images/registry/push-scene.js';
import { skopeo } from '../images/registry/scene.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const PLATFORMS = ['amd64', 'arm64'];

let folder: string;
let registry: RunningRegistry;
let other: RunningRegistry;
let environment: NodeJS.ProcessEnv;
/** By architecture. Each is `HOST/parts/ARCH:1` of the first registry. */
const written = new Map<string, WrittenLayout>();
let names = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-manifest-'));
  registry = await startRegistry(join(folder, 'registry'));
  other = await startRegistry(join(folder, 'other'));
  mkdirSync(join(other.storage, 'repositories'), { recursive: true });
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  environment = {
    ...process.env,
    TSVM_HOME: join(folder, 'home'),
    DOCKER_CONFIG: join(folder, 'docker'),
    XDG_RUNTIME_DIR: join(folder, 'runtime'),
  };
  const shared = tar([{ path: 'shared', data: new Random(1).bytes(50_000) }]);
  for (const [i, architecture] of PLATFORMS.entries()) {
    const layout = join(folder, architecture);
    const layers = [shared, tar([{ path: 'arch', data: architecture }]), large(i)];
    written.set(architecture, writeLayout(layout, layers, { architecture }));
    await skopeo(`oci:${layout}`, `docker://${part(architecture)}`, '--dest-tls-verify=false');
    await skopeo(`oci:${layout}`, `docker://${docker(architecture)}`, '--dest-tls-verify=false', '--format=v2s2');
  }
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const large = (seed: number) => tar([{ path: 'large', data: new Random(10 + seed).bytes(9 << 20) }]);
const part = (architecture: string) => `${registry.host}/parts/${architecture}:1`;
/** The same image with a manifest of Docker's. */
const docker = (architecture: string) => `${registry.host}/docker/${architecture}:1`;
const newName = (host = registry.host) => `${host}/lists/app${++names}:1`;
const member = (architecture: string) => written.get(architecture)!;

async function tsvm(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const child = spawn(TSVM, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  const [status] = await once(child, 'close');
  return { status, ...output };
}

/** A run that must not fail. Returns stdout. */
async function done(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await tsvm(...args);
  expect({ status, stderr }, args.join(' ')).toEqual({ status: 0, stderr: expect.not.stringContaining('tsvm:') });
  return stdout;
}

function run(program: string, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: 60_000 }, (error, stdout) => (error ? reject(error) : resolve(stdout)));
  });
}

const raw = (name: string) => run('skopeo', 'inspect', '--raw', '--tls-verify=false', `docker://${name}`);

/** Makes a list of both platforms and pushes it. Returns its digest. */
async function pushed(name: string, of = part): Promise<string> {
  await done('manifest', 'create', name, ...PLATFORMS.map(of));
  return (await done('manifest', 'push', '-q', '--purge', name)).trim();
}

test('what a build of several platforms made is pushed as a list, and is a base for each of them', async () => {
  const name = newName();
  const context = mkdtempSync(join(folder, 'context-'));
  for (const architecture of PLATFORMS) writeFileSync(join(context, architecture), `for ${architecture}`);
  writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n');
  const several = ['--progress', 'quiet', '--platform', 'linux/amd64,linux/arm64'];
  await done('build', ...several, '-t', name, context);
  const digest = /digest: (sha256:[0-9a-f]{64}) size: (\d+)\n$/.exec(await done('push', name));
  const index = await raw(name);
  expect([sha256(index), String(index.length)]).toEqual(digest?.slice(1));
  expect(JSON.parse(index)).toMatchObject({
    mediaType: OCI_INDEX,
    manifests: PLATFORMS.map((architecture) => ({ platform: { architecture, os: 'linux' } })),
  });
  expect((await done('manifest', 'push', '-q', name)).trim()).toBe(digest?.[1]);
  // skopeo reads all of it: each manifest, each config and each layer.
  const copy = join(folder, 'copy');
  await skopeo(`docker://${name}`, `oci:${copy}`, '--src-tls-verify=false', '--all');
  // Another home pulls the image for this machine, and builds on the other one, whose tag it leaves
  // alone.
  const elsewhere = join(folder, 'elsewhere');
  writeFileSync(join(context, 'Dockerfile'), `FROM ${name} AS base\nFROM scratch\nCOPY --from=base /arch /copied\n`);
  const kept = environment;
  environment = { ...environment, TSVM_HOME: elsewhere };
  try {
    await done('pull', '-q', name);
    await done('build', ...several, '-o', join(folder, 'out'), context);
    for (const architecture of PLATFORMS) {
      const copied = readFileSync(join(folder, 'out', `linux_${architecture}`, 'copied'), 'utf8');
      expect(copied).toBe(`for ${architecture}`);
    }
    expect(JSON.parse(await done('inspect', name))[0].Architecture).toBe('amd64');
  } finally {
    environment = kept;
  }
});

describe('a list', () => {
  test('is made, shown, pushed and removed', async () => {
    const name = newName();
    expect(await done('manifest', 'create', name, ...PLATFORMS.map(part))).toBe(`Created manifest list ${name}\n`);
    const expected = {
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: PLATFORMS.map((architecture) => ({
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: member(architecture).manifestDigest,
        size: expect.any(Number),
        platform: { architecture, os: 'linux' },
      })),
    };
    expect(JSON.parse(await done('manifest', 'inspect', name))).toEqual(expected);
    expect(tagsOf(registry, name.slice(registry.host.length + 1, -2))).toEqual([]);

    const output = (await done('manifest', 'push', name)).trimEnd().split('\n');
    const repository = name.slice(0, -2);
    expect(output.slice(0, 2)).toEqual(
      PLATFORMS.map((architecture) => {
        const { manifestDigest } = member(architecture);
        return `Pushed ref ${repository}@${manifestDigest} with digest: ${manifestDigest}`;
      }),
    );
    const text = await raw(name);
    expect([sha256(text), JSON.parse(text)]).toEqual([output[2], expected]);

    expect(await done('manifest', 'rm', name)).toBe('');
    // Now the registry's is shown, which is the same.
    expect(JSON.parse(await done('manifest', 'inspect', name))).toEqual(expected);
    const again = await tsvm('manifest', 'rm', name);
    expect(again).toEqual({ status: 125, stdout: '', stderr: `tsvm: No such manifest: ${name}\n` });
  });

  test('of one registry is mounted: no blob is sent', async () => {
    const name = newName();
    await done('manifest', 'create', name, ...PLATFORMS.map(part));
    const { status, stderr } = await tsvm('manifest', 'push', name);
    const lines = stderr.trimEnd().split('\n');
    expect({ status, words: new Set(lines.map((line) => line.replace(/^\w{12}: /, ''))) }).toEqual({
      status: 0,
      words: new Set(['Mounted from parts/amd64', 'Mounted from parts/arm64', 'Layer already exists']),
    });
    // Three layers and a config of each, of which one layer is both images'.
    expect(lines).toHaveLength(8);
  });

  test('of another registry is copied, and each platform keeps its digest', async () => {
    const name = newName(other.host);
    const digest = await pushed(name);
    for (const architecture of PLATFORMS) {
      const { imageId, manifestDigest } = member(architecture);
      const platform = `linux/${architecture}`;
      const pull = await done('pull', '--platform', platform, name);
      expect(pull).toContain(`Digest: ${digest}\n`);
      const [{ Id, Architecture }] = JSON.parse(await done('image', 'inspect', name));
      expect([Id, Architecture]).toEqual([imageId, architecture]);
      const words = ['inspect', '--tls-verify=false', '--override-arch', architecture, '--format', '{{.Digest}}'];
      expect(await run('skopeo', ...words, `docker://${name.slice(0, -2)}@${manifestDigest}`)).toContain('sha256:');
    }
    expect(uploadsOf(other)).toEqual([]);
    // All of it is there: skopeo copies every platform, and verifies each blob.
    await skopeo(`docker://${name}`, `oci:${folder}/all:1`, '--all', '--src-tls-verify=false');
    const kept = new Set(readdirSync(join(folder, 'all/blobs/sha256')));
    for (const { imageId, manifestDigest, layerDigests } of written.values()) {
      for (const each of [imageId, manifestDigest, ...layerDigests]) expect(kept).toContain(each.slice(7));
    }
  });

  test("of Docker's manifests is Docker's, and of both kinds OCI's", async () => {
    const [own, mixed] = [newName(), newName()];
    await pushed(own, docker);
    const list = JSON.parse(await raw(own));
    expect(list.mediaType).toBe(DOCKER_LIST);
    expect(list.manifests.map(({ mediaType }: { mediaType: string }) => mediaType)).toEqual([
      DOCKER_MANIFEST,
      DOCKER_MANIFEST,
    ]);
    await done('manifest', 'create', mixed, part('amd64'), docker('arm64'));
    await done('manifest', 'push', '-q', mixed);
    expect(JSON.parse(await raw(mixed)).mediaType).toBe(OCI_INDEX);
    for (const name of [own, mixed]) {
      await done('pull', '-q', '--platform', 'linux/arm64', name);
      expect(JSON.parse(await done('image', 'inspect', name))[0].Id).toBe(member('arm64').imageId);
    }
  });

  test('is read by podman, and one that podman pushes is read here', async () => {
    const name = newName(other.host);
    const digest = await pushed(name);
    const place = mkdtempSync(join(folder, 'podman-'));
    const podman = (...words: string[]) =>
      run('podman', '--root', `${place}/root`, '--runroot', `${place}/run`, '--storage-driver', 'vfs', ...words);
    await podman('pull', '-q', '--tls-verify=false', name);
    expect(await podman('image', 'inspect', '--format', '{{.Id}}', name)).toBe(`${member('amd64').imageId.slice(7)}\n`);
    expect(await podman('image', 'inspect', '--format', '{{json .RepoDigests}}', name)).toContain(digest);

    const theirs = newName(other.host);
    await podman('manifest', 'create', theirs);
    for (const architecture of PLATFORMS) {
      await podman('manifest', 'add', '--tls-verify=false', theirs, `docker://${part(architecture)}`);
    }
    await podman('manifest', 'push', '--all', '--tls-verify=false', theirs, `docker://${theirs}`);
    await done('pull', '-q', '--platform', 'linux/arm64', theirs);
    expect(JSON.parse(await done('image', 'inspect', theirs))[0].Id).toBe(member('arm64').imageId);
  });

  test('of a list takes its members with --all, and keeps what it says of them', async () => {
    const first = newName();
    await done('manifest', 'create', first, ...PLATFORMS.map(part));
    await done('manifest', 'annotate', first, part('arm64'), '--variant', 'v8', '--os-features', 'a,b');
    await done('manifest', 'annotate', '--os-version=6.1', first, member('amd64').manifestDigest);
    const digest = (await done('manifest', 'push', '-q', first)).trim();

    const copy = newName(other.host);
    const refused = await tsvm('manifest', 'create', copy, first);
    expect(refused).toMatchObject({
      status: 125,
      stderr: `tsvm: ${first} is a manifest list: add its members with --all\n`,
    });
    await done('manifest', 'create', '--all', copy, first);
    expect((await done('manifest', 'push', '-q', copy)).trim()).toBe(digest);
    expect(JSON.parse(await raw(copy)).manifests.map(({ platform }: { platform: object }) => platform)).toEqual([
      { architecture: 'amd64', os: 'linux', 'os.version': '6.1' },
      { architecture: 'arm64', os: 'linux', variant: 'v8', 'os.features': ['a', 'b'] },
    ]);
  });

  test('takes further members with --amend and add, each once', async () => {
    const name = newName();
    await done('manifest', 'create', name);
    const nothing = await tsvm('manifest', 'push', name);
    expect(nothing.stderr).toBe(`tsvm: cannot push ${name}: the list has no manifests\n`);
    const refused = await tsvm('manifest', 'create', name, part('amd64'));
    expect(refused.stderr).toBe('tsvm: refusing to amend an existing manifest list with no --amend flag\n');
    await done('manifest', 'create', '--amend', name, part('amd64'));
    expect(await done('manifest', 'add', name, part('arm64'), part('amd64'))).toBe(`${name}\n`);
    const { manifests } = JSON.parse(await done('manifest', 'inspect', name));
    expect(manifests.map(({ digest }: { digest: string }) => digest)).toEqual(
      PLATFORMS.map((architecture) => member(architecture).manifestDigest),
    );
  });

  test('goes to another name, which podman says as docker://', async () => {
    const [name, target] = [newName(), newName(other.host)];
    await done('manifest', 'create', name, ...PLATFORMS.map(part));
    const digest = (await done('manifest', 'push', '-q', '--rm', name, `docker://${target}`)).trim();
    expect(sha256(await raw(target))).toBe(digest);
    expect((await tsvm('manifest', 'push', name)).stderr).toBe(`tsvm: No such manifest: ${name}\n`);
  });

  test('is one list however many add to it at once', async () => {
    const name = newName();
    await done('manifest', 'create', name);
    await Promise.all(
      PLATFORMS.flatMap((each) => [part(each), docker(each)]).map((each) => done('manifest', 'add', name, each)),
    );
    expect(JSON.parse(await done('manifest', 'inspect', name)).manifests).toHaveLength(4);
  });

  test('is completed by its name', async () => {
    const name = newName();
    await done('manifest', 'create', name, part('amd64'));
    expect(await done('__complete', 'manifest', 'push', name.slice(0, -1))).toBe(`${name}\n`);
  });
});

describe('inspect', () => {
  test('prints the manifest that a registry has, and with -v where it is', async () => {
    const text = await raw(part('arm64'));
    expect(JSON.parse(await done('manifest', 'inspect', part('arm64')))).toEqual(JSON.parse(text));
    const found = JSON.parse(await done('manifest', 'inspect', '-v', part('arm64')));
    expect(found).toEqual({
      Ref: part('arm64'),
      Descriptor: {
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: member('arm64').manifestDigest,
        size: text.length,
        platform: { architecture: 'arm64', os: 'linux' },
      },
      Raw: Buffer.from(text).toString('base64'),
      OCIManifest: JSON.parse(text),
    });
  });

  test('with -v prints all manifests of a list, of this home or a registry', async () => {
    const name = newName();
    await done('manifest', 'create', name, docker('amd64'), part('arm64'));
    const own = JSON.parse(await done('manifest', 'inspect', '-v', name));
    expect(own).toMatchObject([
      { Ref: docker('amd64'), SchemaV2Manifest: { mediaType: DOCKER_MANIFEST } },
      { Ref: part('arm64'), OCIManifest: { schemaVersion: 2 } },
    ]);
    expect(JSON.parse(await done('manifest', 'inspect', '-v', name, part('arm64')))).toEqual(own[1]);
    expect(JSON.parse(await done('manifest', 'inspect', name, own[1].Descriptor.digest))).toEqual(own[1].OCIManifest);
    await done('manifest', 'push', '-q', '-p', name);
    const remote = JSON.parse(await done('manifest', 'inspect', '-v', name));
    expect(remote.map(({ Ref, ...rest }: { Ref: string }) => rest)).toEqual(
      own.map(({ Ref, ...rest }: { Ref: string }) => rest),
    );
    expect(remote[0].Ref).toBe(`${name.slice(0, -2)}@${own[0].Descriptor.digest}`);
  });
});

describe.each<[string, () => string[], RegExp]>([
  [
    'an image that no registry has',
    () => ['inspect', `${registry.host}/nosuch`],
    /^no such manifest: \S+\/nosuch:latest$/,
  ],
  [
    'a member that no registry has',
    () => ['create', newName(), `${registry.host}/nosuch:1`],
    /No such image: .*nosuch:1$/,
  ],
  ['a list by digest', () => ['create', `a@sha256:${'a'.repeat(64)}`, part('amd64')], /has a tag, not a digest/],
  ['an unknown list', () => ['push', 'nosuch'], /^No such manifest: nosuch:latest$/],
  [
    'to annotate an unknown list',
    () => ['annotate', 'nosuch', 'a', '--os', 'linux'],
    /^No such manifest: nosuch:latest$/,
  ],
  ['to annotate nothing', () => ['annotate', 'nosuch', 'a'], /nothing to change/],
  ['an odd architecture', () => ['annotate', 'nosuch', 'a', '--arch', 'a/b'], /^invalid part of a platform: a\/b$/],
  ['no name', () => ['create'], /missing required argument/],
  ['an unknown member', () => ['inspect', 'nosuch', 'member'], /^No such manifest: nosuch:latest$/],
])('one line refuses %s', (_, words, message) => {
  test('with exit code 125', async () => {
    const { status, stdout, stderr } = await tsvm('manifest', ...words());
    expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
    expect(stderr).toMatch(/^tsvm: [^\n]+\n(See 'tsvm[^\n]* --help'\.\n)?$/);
    expect(stderr.split('\n')[0]?.slice('tsvm: '.length)).toMatch(message);
  });
});

test('a list of more members than the limit is refused, and so is a nested one', async () => {
  const manifests = Array.from({ length: 257 }, (_, i) => ({
    mediaType: DOCKER_MANIFEST,
    digest: sha256(String(i)),
    size: 1,
  }));
  const nested = [{ mediaType: OCI_INDEX, digest: sha256('nested'), size: 1 }];
  for (const [each, message] of [
    [manifests, 'the list has 257 manifests; the limit is 256'],
    [nested, `a list of members of the type ${OCI_INDEX} is not supported`],
  ] as const) {
    await using proxy = await startFaultyProxy(registry.host, {
      answer(request, response) {
        if (!request.url?.includes('/manifests/')) return false;
        response.writeHead(200, { 'content-type': OCI_INDEX });
        response.end(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: each }));
        return true;
      },
    });
    const { status, stderr } = await tsvm('manifest', 'create', '--all', newName(), `${proxy.host}/hostile`);
    expect({ status, stderr }).toEqual({ status: 125, stderr: `tsvm: ${message}\n` });
  }
});

test('a blob that is damaged on its way is not stored, and the tag stays as it was', async () => {
  const [layer = ''] = member('arm64').layerDigests.slice(-1);
  await using proxy = await startFaultyProxy(registry.host, {
    answer(request, response) {
      if (request.method !== 'GET' || !request.url?.endsWith(layer)) return false;
      const { size } = statSync(registry.blob(layer));
      response.writeHead(200, { 'content-length': size }).end(Buffer.alloc(size, 1));
      return true;
    },
  });
  const target = newName(other.host);
  await done('manifest', 'create', target, `${proxy.host}/parts/amd64:1`, `${proxy.host}/parts/arm64:1`);
  rmSync(join(other.storage, 'blobs'), { recursive: true, force: true });
  const { status, stderr } = await tsvm('manifest', 'push', '-q', target);
  expect({ status, stderr }).toEqual({
    status: 125,
    stderr: expect.stringMatching(/^tsvm: cannot push \S+: a blob is damaged: its digest is sha256:[^\n]*\n$/),
  });
  expect(tagsOf(other, target.slice(other.host.length + 1, -2))).toEqual([]);
  expect(uploadsOf(other)).toEqual([]);
});

test('a push that a signal ends leaves no tag and no upload', async () => {
  const begun = new AbortController();
  await using proxy = await startFaultyProxy(other.host, {
    hold: async ({ method }) => {
      if (method === 'PATCH') begun.abort();
      if (method === 'PATCH') await new Promise((resolve) => setTimeout(resolve, 300));
    },
  });
  rmSync(join(other.storage, 'blobs'), { recursive: true, force: true });
  const name = newName(proxy.host);
  await done('manifest', 'create', name, ...PLATFORMS.map(part));
  const isBegun = once(begun.signal, 'abort');
  const child = spawn(TSVM, ['manifest', 'push', '-q', name], {
    env: environment,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const closed = once(child, 'close');
  await isBegun;
  child.kill('SIGINT');
  expect((await closed)[0]).toBe(130);
  expect(tagsOf(other, name.slice(proxy.host.length + 1, -2))).toEqual([]);
  expect(uploadsOf(other)).toEqual([]);
});

test('a damaged file of a list is one line, and rm removes it', async () => {
  const name = newName();
  await done('manifest', 'create', name, part('amd64'));
  const path = join(folder, 'home/store-2/lists', name.slice(0, -2).replaceAll('/', '+'), '1');
  for (const text of ['', '{}', '{"version":1,"members":[{"manifest":{}}]}']) {
    writeFileSync(path, text);
    const { status, stderr } = await tsvm('manifest', 'inspect', name);
    expect({ status, stderr }).toEqual({
      status: 125,
      stderr: `tsvm: the stored manifest list ${name} is damaged: remove it\n`,
    });
  }
  await done('manifest', 'rm', name);
});
