// Proves that Docker runs containers in machines by the OCI runtime `tsvm-oci`: streams, exit codes, terminals,
// limits, volumes, its bridge, and nothing left behind.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineNamespaces, SIZE } from './engine-namespaces.js';
import { CLIENT, populateWithPerl, SERVER } from './network-image.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
const PROGRAMS = fileURLToPath(new URL('../fixtures/docker', import.meta.url));
const IMAGE = 'oci-test:1';
const BY = ['--runtime', 'tsvm', '--network', 'none'];
const GATEWAY = '172.29.0.1';

let folder: string;
let programs: string;
let engine: EngineNamespaces;

const words = (args: string[]) => [join(programs, 'docker'), '--host', `unix://${folder}/socket`, ...args];
const docker = (...args: string[]) => engine.run(words(args));
const run = (...args: string[]) => docker('run', '--rm', ...BY, ...args);

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-docker-');
  chmodSync(folder, 0o711);
  programs = execFileSync(PROGRAMS, { encoding: 'utf8' }).trim();
  const settings = {
    ...{ 'data-root': join(folder, 'data'), 'exec-root': join(folder, 'exec'), pidfile: join(folder, 'pid') },
    ...{ hosts: [`unix://${folder}/socket`], 'storage-driver': 'vfs', runtimes: { tsvm: { path: RUNTIME } } },
    ...{ bip: `${GATEWAY}/24`, 'userland-proxy': false },
  };
  writeFileSync(join(folder, 'daemon.json'), JSON.stringify(settings));
  const env = { ...process.env, PATH: `${programs}:${process.env.PATH}` };
  const daemon = `dockerd --config-file ${join(folder, 'daemon.json')}`;
  engine = new EngineNamespaces(['/run/containerd', '/run/docker'], daemon, env);
  mkdirSync(join(folder, 'image'));
  populateWithPerl(join(folder, 'image'));
  execFileSync('tar', ['-C', join(folder, 'image'), '-cf', join(folder, 'image.tar'), '.']);
  while (docker('version').status !== 0) await setTimeout(100);
  expect(docker('import', join(folder, 'image.tar'), IMAGE)).toMatchObject({ status: 0 });
});

afterAll(() => {
  engine[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('Docker runs a program in a machine, with its streams, volumes and exit code', async () => {
  const shared = join(folder, 'shared');
  mkdirSync(shared);
  const script = 'uname -r; pwd; echo $A; echo made >/shared/made; touch /x; exit 3';
  const given = ['-e', 'A=b', '-w', '/tmp', '-v', `${shared}:/shared`, '--read-only'];
  const ran = run(...given, IMAGE, 'sh', '-c', script);
  expect(ran).toMatchObject({ stderr: expect.stringContaining('Read-only file system'), status: 3 });
  expect(ran.stdout).toMatch(/^6\.\S*\n\/tmp\nb\n$/);
  expect(ran.stdout).not.toContain(execFileSync('uname', ['-r'], { encoding: 'utf8' }));
  expect(readFileSync(join(shared, 'made'), 'utf8')).toBe('made\n');
  const shown = engine.onTerminal(words(['run', '--rm', '-it', ...BY, IMAGE, 'sh', '-c', `${SIZE}; exit 4`]));
  expect(shown).toMatchObject({ stdout: expect.stringMatching(/33 101\r+\n/), status: 4 });
  await expect.poll(() => engine.containers).toEqual([]);
});

test('a container that the guest kills for lack of memory is told as that', async () => {
  expect(docker('run', '--name', 'greedy', '-m', '64m', ...BY, IMAGE, 'tail', '/dev/zero')).toMatchObject({
    status: 137,
  });
  const told = () => docker('inspect', '--format', '{{.State.OOMKilled}} {{.State.ExitCode}}', 'greedy').stdout;
  // containerd tells that and the exit in any order.
  await expect.poll(told).toBe('true 137\n');
  expect(docker('rm', 'greedy')).toMatchObject({ status: 0 });
  await expect.poll(() => engine.containers).toEqual([]);
});

test('a container in the background executes programs, is updated and paused, and ends by its own exit code', async () => {
  const script = 'trap "exit 5" TERM; echo up; while :; do sleep 0.1; done';
  const limits = ['-m', '256m', '--pids-limit', '77'];
  expect(docker('run', '-d', '--name', 'busy', ...limits, ...BY, IMAGE, 'sh', '-c', script)).toMatchObject({
    status: 0,
  });
  const look = 'id -u; cat; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; exit 7';
  const ran = engine.run(words(['exec', '-i', '-u', '1000:5', 'busy', 'sh', '-c', look]), 'in\n');
  expect(ran).toMatchObject({ stdout: '1000\nin\n268435456\n77\n', status: 7 });
  expect(docker('update', '--memory', '200m', '--memory-swap', '400m', 'busy')).toMatchObject({ status: 0 });
  expect(docker('exec', 'busy', 'cat', '/sys/fs/cgroup/memory.max').stdout).toBe('209715200\n');
  expect(docker('pause', 'busy')).toMatchObject({ status: 0 });
  expect(docker('unpause', 'busy')).toMatchObject({ status: 0 });
  await expect.poll(() => docker('logs', 'busy').stdout).toBe('up\n');
  expect(docker('stop', '--time', '60', 'busy')).toMatchObject({ status: 0 });
  expect(docker('wait', 'busy').stdout).toBe('5\n');
  expect(docker('rm', 'busy')).toMatchObject({ status: 0 });
  await expect.poll(() => engine.containers).toEqual([]);
});

test("containers on Docker's bridge talk, and a published port reaches its container", async () => {
  const server = ['-d', '--runtime', 'tsvm', '--name', 'server', '-p', `${GATEWAY}:18080:80`];
  const serve = ['perl', '-e', SERVER, '80', '10000'];
  expect(docker('run', ...server, IMAGE, ...serve)).toMatchObject({ status: 0, stderr: '' });
  await expect.poll(() => docker('logs', 'server').stdout).toBe('up\n');
  const address = docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'server').stdout.trim();
  const client = ['perl', '-e', CLIENT];
  const other = docker('run', '--rm', '--runtime', 'tsvm', IMAGE, ...client, `${address}:80`);
  expect(other).toMatchObject({ stdout: expect.stringMatching(/^172\.29\.0\.\d+ x+$/), stderr: '', status: 0 });
  const outside = engine.run([...client, `${GATEWAY}:18080`]);
  expect(outside).toMatchObject({ stdout: expect.stringMatching(/^172\.29\.0\.1 x+$/), stderr: '', status: 0 });
  for (const { stdout } of [other, outside]) expect(stdout).toHaveLength(10_000);
  expect(docker('rm', '--force', 'server')).toMatchObject({ status: 0 });
  await expect.poll(() => engine.containers).toEqual([]);
});

test("a program that cannot be executed has Docker's exit codes, and what a machine does not have is refused", async () => {
  expect(run(IMAGE, 'nosuch')).toMatchObject({
    stderr: expect.stringContaining('exec: "nosuch": executable file not found in $PATH'),
    status: 127,
  });
  expect(run(IMAGE, '/etc')).toMatchObject({ stderr: expect.stringContaining('permission denied'), status: 126 });
  expect(docker('run', '--rm', '--runtime', 'tsvm', '--network', 'host', IMAGE, 'true')).toMatchObject({
    stderr: expect.stringContaining("tsvm runs no container in the host's network: use runc for this one"),
    status: 125,
  });
  expect(run('--privileged', IMAGE, 'true')).toMatchObject({
    stderr: expect.stringMatching(/device \S+ is not supported/),
    status: 125,
  });
  await expect.poll(() => engine.containers).toEqual([]);
});
