// Proves that buildah runs the programs of its builds in machines by the OCI runtime `tsvm-oci`, and keeps what
// they write in its layers.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { EngineNamespaces, SIZE } from './engine-namespaces.js';
import { CLIENT, populateWithPerl, SERVER } from './network-image.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
const IMAGE = 'localhost/oci-test:1';
const BY = ['--isolation', 'oci', '--runtime', RUNTIME];
const ANY = [...BY, '--network', 'none'];

let folder: string;
let environment: NodeJS.ProcessEnv;

const words = (args: string[]) => [
  ...['buildah', '--root', join(folder, 'root'), '--runroot', join(folder, 'runroot'), '--storage-driver', 'vfs'],
  ...args,
];

/** Runs buildah in a network namespace of its own: what it does to its network is not the host's. */
function buildah(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('unshare', ['--net', ...words(args)], { encoding: 'utf8', env: environment });
}

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-buildah-');
  chmodSync(folder, 0o711);
  const configuration = join(folder, 'containers.conf');
  const settings = [
    ...['[containers]', 'default_ulimits=["nofile=1024:4096","nproc=1024:4096"]'],
    ...['[network]', 'network_backend="cni"', `network_config_dir="${folder}/networks"`],
  ];
  writeFileSync(configuration, settings.join('\n'));
  environment = { ...process.env, CONTAINERS_CONF: configuration };
  mkdirSync(join(folder, 'image'));
  populateWithPerl(join(folder, 'image'));
  execFileSync('tar', ['-C', join(folder, 'image'), '-cf', join(folder, 'image.tar'), '.']);
  const done = expect.objectContaining({ status: 0 });
  expect(buildah('from', '--name', 'base', 'scratch')).toEqual(done);
  expect(buildah('add', '-q', 'base', join(folder, 'image.tar'), '/')).toEqual(done);
  expect(buildah('config', '--env', 'PATH=/bin', 'base')).toEqual(done);
  expect(buildah('commit', '-q', 'base', IMAGE)).toEqual(done);
  expect(buildah('from', '--name', 'work', IMAGE)).toEqual(done);
});

afterAll(() => {
  buildah('rm', '--all');
  rmSync(folder, { recursive: true, force: true });
});

afterEach(() => {
  const heads = existsSync('/run/tsvm-oci') ? readdirSync('/run/tsvm-oci').map((id) => head(id)) : [];
  expect(heads.filter((text) => text.includes(folder))).toEqual([]);
});

function head(id: string): string {
  try {
    return readFileSync(join('/run/tsvm-oci', id, 'head.json'), 'utf8');
  } catch {
    return ''; // Another test's, which has just been deleted.
  }
}

test('buildah runs a program in a machine, with its streams and exit code', () => {
  const options = ['--user', '1000:5', '--workingdir', '/tmp', '--env', 'A=b'];
  const script = 'uname -r; id -u; id -g; pwd; echo $A; echo err >&2; exit 4';
  const ran = buildah('run', ...ANY, ...options, 'work', 'sh', '-c', script);
  expect(ran).toMatchObject({ stdout: expect.stringMatching(/^6\.\S*\n1000\n5\n\/tmp\nb\n$/), status: 4 });
  expect(ran.stdout).not.toContain(execFileSync('uname', ['-r'], { encoding: 'utf8' }));
  expect(ran.stderr).toBe('err\nError: while running runtime: exit status 4\n');
});

test('a program runs on a terminal of buildah, with its size', () => {
  const line = words(['run', ...ANY, '-t', 'work', 'sh', '-c', `${SIZE}; exit 5`]).map((word) => `'${word}'`);
  const script = `stty cols 101 rows 33; ${line.join(' ')}`;
  const ran = spawnSync('unshare', ['--net', 'script', '-qec', script, '/dev/null'], {
    encoding: 'utf8',
    env: environment,
  });
  expect(ran).toMatchObject({ stdout: expect.stringMatching(/33 101\r+\n/), status: 5 });
});

test('the RUNs of a Containerfile run in machines, and their files are in the image', () => {
  const context = join(folder, 'context');
  mkdirSync(context);
  const lines = [
    `FROM ${IMAGE}`,
    'RUN uname -r >/kernel',
    'RUN --mount=type=bind,target=/given cat /given/file >>/kernel',
  ];
  writeFileSync(join(context, 'Containerfile'), lines.join('\n'));
  writeFileSync(join(context, 'file'), 'of the context\n');
  expect(buildah('bud', ...ANY, '-t', 'built', context)).toMatchObject({ status: 0 });
  expect(buildah('from', '--name', 'built', 'built')).toMatchObject({ status: 0 });
  const { stdout } = buildah('run', ...ANY, 'built', 'sh', '-c', 'uname -r; cat /kernel');
  const [kernel, ...written] = stdout.split('\n');
  expect(written).toEqual([kernel, 'of the context', '']);
  writeFileSync(join(context, 'Containerfile'), `FROM ${IMAGE}\nRUN exit 9\n`);
  expect(buildah('bud', ...ANY, context)).toMatchObject({
    stderr: expect.stringContaining('while running runtime: exit status 9'),
    status: 9,
  });
});

test("a container has the network of buildah's bridge, which is made between create and start", async () => {
  const serve = `ip link set lo up; perl -e '${SERVER}' 8080 100`;
  using engine = new EngineNamespaces(
    ['/run/netns', '/var/lib/cni', '/run/cni', '/run/containers'],
    serve,
    environment,
  );
  await expect.poll(() => engine.run(['perl', '-e', CLIENT, '127.0.0.1:8080']).status).toBe(0);
  const ran = engine.run(words(['run', ...BY, '--network', 'podman', 'work', 'perl', '-e', CLIENT, '10.88.0.1:8080']));
  expect(ran).toMatchObject({ status: 0, stderr: '' });
  expect(ran.stdout).toMatch(/^10\.88\.0\.\d+ x+$/);
});

test("a program that is missing is named, and a container in buildah's own network refused", () => {
  expect(buildah('run', ...ANY, 'work', 'nosuch').stderr).toContain(
    'exec: "nosuch": executable file not found in $PATH',
  );
  expect(buildah('run', ...BY, '--network', 'host', 'work', 'true').stderr).toContain(
    "tsvm runs no container in the host's network: use runc for this one",
  );
});
