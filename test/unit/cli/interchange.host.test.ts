// Images go to and from the other programs of the field: skopeo and podman read what `tsvm build`
// writes and `tsvm push` sends, and tsvm reads what they make. Each has the same ID everywhere.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningRegistry, startRegistry } from '../../fixtures/registry.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const NAME = 'interchange:1';

let folder: string;
let registry: RunningRegistry;
let environment: NodeJS.ProcessEnv;
/** The ID of what is built. */
let id: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-interchange-'));
  registry = await startRegistry(join(folder, 'registry'));
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  mkdirSync(join(folder, 'tmp'));
  mkdirSync(join(folder, 'docker'));
  writeFileSync(join(folder, 'docker/config.json'), '{"auths":{}}');
  environment = {
    ...process.env,
    TSVM_HOME: join(folder, 'home'),
    DOCKER_CONFIG: join(folder, 'docker'),
    XDG_RUNTIME_DIR: join(folder, 'runtime'),
    TMPDIR: join(folder, 'tmp'),
    SOURCE_DATE_EPOCH: '1700000000',
  };
  const context = join(folder, 'context');
  mkdirSync(join(context, 'd'), { recursive: true });
  writeFileSync(join(context, 'd/a'), 'A');
  writeFileSync(join(context, 'b'), 'B', { mode: 0o755 });
  writeFileSync(
    join(context, 'Dockerfile'),
    `FROM scratch
COPY --chown=7:8 d /d
COPY b /bin/b
ENV A="b c"
LABEL one=1
USER 7
EXPOSE 80
VOLUME /data
HEALTHCHECK CMD ["/bin/b"]
ENTRYPOINT ["/bin/b"]
CMD ["x"]
`,
  );
  const outputs = ['oci', 'docker'].flatMap((type) => ['-o', `type=${type},dest=${join(folder, `${type}.tar`)}`]);
  id = (await tsvm('build', '-t', NAME, '-o', 'type=image', ...outputs, context)).trim();
  expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function run(program: string, ...words: string[]): Promise<string> {
  return (await promisify(execFile)(program, words, { timeout: 120_000, env: environment })).stdout;
}

const tsvm = (...words: string[]) => run(TSVM, ...words);
/** tsvm with an empty store. */
function newHome() {
  const home = mkdtempSync(join(folder, 'home-'));
  return async (...words: string[]) =>
    (await promisify(execFile)(TSVM, words, { env: { ...environment, TSVM_HOME: home } })).stdout;
}

const skopeo = (...words: string[]) => run('skopeo', ...words);

/** A store of podman's. */
function newPodman() {
  const place = mkdtempSync(join(folder, 'podman-'));
  return (...words: string[]) =>
    run('podman', '--root', `${place}/root`, '--runroot', `${place}/run`, '--storage-driver', 'vfs', ...words);
}

/** What podman says of the image, in fields that do not depend on how it came. */
async function ofPodman(podman: ReturnType<typeof newPodman>, name: string) {
  const [{ Id, Config, RootFS }] = JSON.parse(await podman('image', 'inspect', name));
  return { id: `sha256:${Id}`, layers: RootFS.Layers, config: Config };
}

async function ofTsvm(name: string) {
  const [{ Id, RootFS }] = JSON.parse(await tsvm('image', 'inspect', name));
  return { id: Id, layers: RootFS.Layers };
}

/** The parts of the config that the Dockerfile sets. */
const CONFIG = {
  User: '7',
  ExposedPorts: { '80/tcp': {} },
  Env: expect.arrayContaining(['A=b c']),
  Entrypoint: ['/bin/b'],
  Cmd: ['x'],
  Volumes: { '/data': {} },
  Labels: { one: '1' },
};

describe.each(['oci', 'docker'])('the archive of build -o type=%s', (type) => {
  const archive = () => join(folder, `${type}.tar`);

  test('is read by skopeo', async () => {
    const config = JSON.parse(await skopeo('inspect', '--config', `${type}-archive:${archive()}`));
    expect(config.config).toMatchObject(CONFIG);
    const layout = join(folder, `layout-${type}`);
    await skopeo('copy', '-q', `${type}-archive:${archive()}`, `oci:${layout}:1`);
    const copied = JSON.parse(await skopeo('inspect', '--config', `oci:${layout}:1`));
    expect(copied.rootfs.diff_ids).toEqual((await ofTsvm(NAME)).layers);
  });

  test('is loaded by podman, with its name, and its files are the same', async () => {
    const podman = newPodman();
    expect(await podman('load', '-q', '-i', archive())).toContain('docker.io/library/interchange:1');
    expect(await ofPodman(podman, NAME)).toEqual({ ...(await ofTsvm(NAME)), config: expect.objectContaining(CONFIG) });
    const script =
      'cd "$(podman "$@" image mount interchange:1)" && stat -c "%n %a %u:%g %Y" d d/a bin/b && cat d/a bin/b';
    const place = mkdtempSync(join(folder, 'mount-'));
    const store = ['--root', `${place}/root`, '--runroot', `${place}/run`, '--storage-driver', 'vfs'];
    await run('podman', ...store, 'load', '-q', '-i', archive());
    expect(await run('sh', '-c', script, 'sh', ...store)).toMatch(
      /^d 755 7:8 1700000000\nd\/a 644 7:8 1700000000\nbin\/b 755 0:0 1700000000\nAB$/,
    );
    await run('podman', ...store, 'image', 'umount', '-a');
  });
});

test.each(['gzip', 'zstd'])('what push --compression %s sends is pulled by podman and skopeo', async (compression) => {
  const name = `${registry.host}/ours-${compression}:1`;
  await tsvm('tag', NAME, name);
  const output = await tsvm('push', '--compression', compression, name);
  const [, digest = ''] = /digest: (\S+) size/.exec(output) ?? [];
  const podman = newPodman();
  await podman('pull', '-q', '--tls-verify=false', name);
  expect(await ofPodman(podman, name)).toEqual({ ...(await ofTsvm(NAME)), config: expect.objectContaining(CONFIG) });
  expect((await podman('image', 'inspect', '--format', '{{.Digest}}', name)).trim()).toBe(digest);
  const layout = join(folder, `pulled-${compression}`);
  await skopeo('copy', '-q', '--src-tls-verify=false', `docker://${name}`, `oci:${layout}:1`);
  expect((await skopeo('inspect', '--format', '{{.Digest}}', `oci:${layout}:1`)).trim()).toBe(digest);
});

test.each([
  ['oci', 'gzip'],
  ['oci', 'zstd'],
  ['v2s2', 'gzip'],
])('what podman pushes as %s with %s is pulled, and pushed on with its digest', async (format, compression) => {
  const podman = newPodman();
  await podman('load', '-q', '-i', join(folder, 'oci.tar'));
  // podman takes a blob that it knows a registry to have in place of the one that it makes.
  await using own = await startRegistry(mkdtempSync(join(folder, 'own-')));
  const name = `${own.host}/theirs-${format}-${compression}:1`;
  const options = ['--format', format, '--compression-format', compression, '--tls-verify=false'];
  await podman('push', '-q', ...options, NAME, `docker://${name}`);
  const digest = (await skopeo('inspect', '--tls-verify=false', '--format', '{{.Digest}}', `docker://${name}`)).trim();
  const inHome = newHome();
  expect(await inHome('pull', name)).toContain(`Digest: ${digest}\n`);
  const [{ Id, RootFS }] = JSON.parse(await inHome('image', 'inspect', name));
  expect(RootFS.Layers).toEqual((await ofTsvm(NAME)).layers);
  if (format === 'oci') expect(Id).toBe(id);
  const further = `${own.host}/further-${format}-${compression}:1`;
  await inHome('tag', name, further);
  expect(await inHome('push', further)).toContain(`1: digest: ${digest} size: `);
});

test('of an index that skopeo pushed, a pull by digest and a push keep the manifest of this platform', async () => {
  const inHome = newHome();
  // An index of two platforms, made by podman of one image.
  const podman = newPodman();
  await podman('load', '-q', '-i', join(folder, 'oci.tar'));
  const part = `${registry.host}/part:1`;
  await podman('push', '-q', '--tls-verify=false', NAME, `docker://${part}`);
  await podman('manifest', 'create', 'list:1');
  await podman('manifest', 'add', '--tls-verify=false', '--arch', 'arm64', 'list:1', `docker://${part}`);
  await podman('manifest', 'add', '--tls-verify=false', '--arch', 'amd64', 'list:1', `docker://${part}`);
  const made = `${registry.host}/made:1`;
  await podman('manifest', 'push', '--all', '--tls-verify=false', 'list:1', `docker://${made}`);
  const name = `${registry.host}/index:1`;
  await skopeo(
    'copy',
    '-q',
    '--all',
    '--src-tls-verify=false',
    '--dest-tls-verify=false',
    `docker://${made}`,
    `docker://${name}`,
  );

  const raw = await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${name}`);
  const { manifests } = JSON.parse(raw);
  const own = manifests.find(
    ({ platform }: { platform: { architecture: string } }) => platform.architecture === 'amd64',
  );
  const index = (await inHome('pull', name)).match(/^Digest: (\S+)$/m)?.[1];
  const byDigest = `${registry.host}/index@${index}`;
  expect(await inHome('pull', byDigest)).toContain(`Digest: ${index}\n`);
  const further = `${registry.host}/kept/index:1`;
  await inHome('tag', byDigest, further);
  expect(await inHome('push', further)).toContain(`1: digest: ${own.digest} size: ${own.size}\n`);
  // All of it goes on as a list.
  const whole = `${registry.host}/whole/index:1`;
  await inHome('manifest', 'create', '--all', whole, byDigest);
  await inHome('manifest', 'push', whole);
  const copied = JSON.parse(await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${whole}`));
  const platformsOf = (list: { digest: string; platform: object }[]) =>
    list.map(({ digest, platform }) => ({ digest, platform }));
  expect(platformsOf(copied.manifests)).toEqual(platformsOf(manifests));
});
