// Proves that the network that an engine gives a container is that of its machine: addresses, routes, name
// servers and ports of podman's bridges, between containers and from outside, in namespaces of the test.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineNamespaces } from './engine-namespaces.js';
import { removeCgroups } from './folders.js';
import { CLIENT, populateWithPerl, SERVER } from './network-image.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
const IMAGE = 'localhost/oci-test:1';
const CGROUP = `tsvm-oci-networks-${process.pid}`;
const GATEWAY = '10.88.0.1';
/** Where the namespace of the engine serves, for containers. */
const PORT = 8080;
/** Not the size of whole segments. */
const SIZE = 765_432;

let folder: string;
let engine: EngineNamespaces;

const podman = (...args: string[]) => engine.run(['podman', ...global(), ...args]);
const global = () => [
  ...['--root', join(folder, 'root'), '--runroot', join(folder, 'runroot'), '--tmpdir', join(folder, 'tmp')],
  ...['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none', '--runtime', RUNTIME],
];
const run = (...args: string[]) => podman('run', '--cgroup-parent', `/${CGROUP}`, ...args);
const client = (address: string) => ['perl', '-e', CLIENT, address];
const inspect = (name: string, format: string) => podman('inspect', '-f', `{{${format}}}`, name).stdout.trim();
/** Rules of the host of these tests: podman makes some for each container, and removes them by its addresses. */
const rules = () => engine.run(['iptables-save', '-t', 'nat']).stdout.match(/^-A POSTROUTING -s .*$/gm) ?? [];

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-oci-');
  chmodSync(folder, 0o711);
  const configuration = [
    ...['[containers]', 'default_ulimits=["nofile=1024:4096","nproc=1024:4096"]'],
    ...['[network]', 'network_backend="cni"', `network_config_dir="${folder}/networks"`],
  ];
  writeFileSync(join(folder, 'containers.conf'), configuration.join('\n'));
  const serve = `perl -e '${SERVER}' ${PORT} ${SIZE}`;
  const env = { ...process.env, CONTAINERS_CONF: join(folder, 'containers.conf') };
  const own = ['/run/netns', '/var/lib/cni', '/run/cni', '/run/containers'];
  engine = new EngineNamespaces(own, `ip link set lo up; ${serve}`, env);
  mkdirSync(join(folder, 'image'));
  populateWithPerl(join(folder, 'image'));
  execFileSync('tar', ['-C', join(folder, 'image'), '-cf', join(folder, 'image.tar'), '.']);
  while (engine.run(client(`127.0.0.1:${PORT}`)).status !== 0) await setTimeout(100);
  expect(podman('import', join(folder, 'image.tar'), IMAGE)).toMatchObject({ status: 0 });
});

afterAll(() => {
  podman('rm', '--all', '--force', '--time', '0');
  engine[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
  removeCgroups(CGROUP);
});

test.each(['uml', 'tcg'])("a container on podman's bridge reaches a server beside it, with %s", async (accel) => {
  const look = 'cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; sleep 1000';
  expect(podman('network', 'create', '--opt', 'mtu=1400', '--subnet', '10.90.0.0/24', 'small').status).toBe(0);
  const on = ['--network', 'small', '--annotation', `dev.tsvm.accel=${accel}`];
  expect(run('-d', '--name', 'here', ...on, IMAGE, 'sh', '-c', look)).toMatchObject({ status: 0, stderr: '' });
  const executed = podman('exec', 'here', ...client(`10.90.0.1:${PORT}`));
  expect(executed).toMatchObject({ status: 0, stderr: '' });
  expect(executed.stdout).toHaveLength(SIZE);
  expect(executed.stdout).toMatch(/^10\.90\.0\.\d+ x+$/);
  expect(executed.stdout.split(' ')[0]).toBe(inspect('here', '.NetworkSettings.Networks.small.IPAddress'));
  const mac = inspect('here', '.NetworkSettings.Networks.small.MacAddress');
  await expect.poll(() => podman('logs', 'here').stdout).toBe(`${mac}\n1400\n`);
  expect(podman('exec', 'here', 'cat', '/etc/resolv.conf').stdout).toContain('nameserver ');
  expect(rules()).not.toEqual([]);
  expect(podman('rm', '--force', '--time', '0', 'here')).toMatchObject({ status: 0, stderr: '' });
  expect(podman('network', 'rm', 'small')).toMatchObject({ status: 0 });
  expect(rules()).toEqual([]);
  await expect.poll(() => engine.containers).toEqual([]);
});

test('two containers on one bridge talk, and a published port reaches its container', async () => {
  const serve = ['perl', '-e', SERVER, '80', String(SIZE)];
  const published = ['-d', '--name', 'server', '-p', '127.0.0.1:18080:80', '--network', 'podman'];
  expect(run(...published, IMAGE, ...serve)).toMatchObject({ status: 0, stderr: '' });
  await expect.poll(() => podman('logs', 'server').stdout).toBe('up\n');
  const address = inspect('server', '.NetworkSettings.IPAddress');
  const other = run('--rm', '--network', 'podman', IMAGE, ...client(`${address}:80`));
  expect(other).toMatchObject({ status: 0, stderr: '' });
  expect(other.stdout).toHaveLength(SIZE);
  expect(other.stdout).toMatch(/^10\.88\.0\.\d+ x+$/);
  for (const to of [`${address}:80`, '127.0.0.1:18080']) {
    const answer = engine.run(client(to));
    expect(answer).toMatchObject({ status: 0, stderr: '' });
    expect(answer.stdout).toHaveLength(SIZE);
  }
  // The end of the machine is that of its network.
  expect(podman('stop', '--time', '0', 'server')).toMatchObject({ status: 0 });
  expect(engine.run(client('127.0.0.1:18080')).status).not.toBe(0);
  expect(podman('start', 'server')).toMatchObject({ status: 0 });
  await expect.poll(() => podman('logs', 'server').stdout).toBe('up\nup\n');
  expect(engine.run(client('127.0.0.1:18080')).stdout).toHaveLength(SIZE);
  expect(podman('rm', '--force', '--time', '0', 'server')).toMatchObject({ status: 0, stderr: '' });
  expect(rules()).toEqual([]);
});

test('a container has IPv6 if its network does', () => {
  const ranges = ['--subnet', '10.91.0.0/24', '--ipv6', '--subnet', 'fd00:91::/64'];
  expect(podman('network', 'create', ...ranges, 'six')).toMatchObject({ status: 0 });
  const ran = run('--rm', '--network', 'six', IMAGE, ...client(`[fd00:91::1]:${PORT}`));
  expect(ran).toMatchObject({ status: 0, stderr: '' });
  expect(ran.stdout).toHaveLength(SIZE);
  expect(ran.stdout).toMatch(/^fd00:91::\w+ x+$/);
});

test.each(['uml', 'tcg'])('a container of two networks is in both, with %s', (accel) => {
  const name = `second-${accel}`;
  const range = accel === 'uml' ? '10.92.0' : '10.94.0';
  expect(podman('network', 'create', '--subnet', `${range}.0/24`, name)).toMatchObject({ status: 0 });
  const on = ['--network', `podman,${name}`, '--annotation', `dev.tsvm.accel=${accel}`];
  const ask = ['10.88.0.1', `${range}.1`].map((host) => `perl -e '${CLIENT}' ${host}:${PORT} | tr -s x`);
  const look = 'cat /proc/net/route /sys/class/net/eth*/address';
  expect(run('-d', '--name', 'both', ...on, IMAGE, 'sleep', '1000')).toMatchObject({ status: 0, stderr: '' });
  const asked = podman('exec', 'both', 'sh', '-c', ask.join('; echo; '));
  expect(asked).toMatchObject({ status: 0, stderr: '' });
  expect(asked.stdout).toMatch(new RegExp(`^10\\.88\\.0\\.\\d+ x\n${range.replaceAll('.', '\\.')}\\.\\d+ x$`));
  // As the namespace of the host has them, but for what starts with the kernel's own prefixes.
  const inside = podman('exec', 'both', 'sh', '-c', look).stdout;
  const pid = inspect('both', '.State.Pid');
  const outside = engine.run([
    'nsenter',
    `--net=/proc/${pid}/ns/net`,
    'sh',
    '-c',
    'cat /proc/net/route; for name in eth0 eth1; do ip -o link show $name | sed "s/.*ether //;s/ .*//"; done',
  ]);
  expect(inside.split('\n').toSorted()).toEqual(outside.stdout.split('\n').toSorted());
  expect(podman('rm', '--force', '--time', '0', 'both')).toMatchObject({ status: 0, stderr: '' });
});

test('without a network there is the loopback interface alone', () => {
  expect(run('--rm', '--network', 'none', IMAGE, 'ls', '/sys/class/net').stdout).toBe('lo\n');
});

test("the host's network is refused, and another container's is that of one machine", async () => {
  expect(run('--rm', '--network', 'host', IMAGE, 'true')).toMatchObject({
    stderr: expect.stringContaining("tsvm runs no container in the host's network: use runc for this one"),
    status: 126,
  });
  expect(run('-d', '--name', 'first', '--network', 'podman', IMAGE, 'sleep', '1000')).toMatchObject({ status: 0 });
  // A container of that namespace is in the machine.
  const boot = ['cat', '/proc/sys/kernel/random/boot_id'];
  const joined = run('--rm', '--network', 'container:first', IMAGE, ...boot);
  expect(joined).toMatchObject({ status: 0, stderr: '' });
  expect(joined.stdout).toBe(podman('exec', 'first', ...boot).stdout);
  const executed = podman('exec', 'first', ...client(`${GATEWAY}:${PORT}`));
  expect(executed.stdout).toHaveLength(SIZE);
  expect(podman('rm', '--force', '--time', '0', 'first')).toMatchObject({ status: 0 });
  await expect.poll(() => engine.containers).toEqual([]);
});
