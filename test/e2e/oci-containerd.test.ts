// Proves that containerd runs containers in machines by the OCI runtime `tsvm-oci`, as its client `ctr` asks for
// them: streams, exit codes, terminals, limits, networks of CNI, pauses, deaths, and nothing left
// behind.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineNamespaces, SIZE } from './engine-namespaces.js';
import { TSVM } from './machine.js';
import { CLIENT, populateWithPerl, SERVER } from './network-image.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
const IMAGE = 'docker.io/library/oci-test:1';
/** Shims have their sockets and their state here, whatever the configuration of containerd says. */
const RUN = '/run/containerd';
/** Where ctr and its plugins look for networks, and keep them. */
const CNI = ['/etc/cni', '/opt/cni', '/var/lib/cni'];
/** Where the namespace of the engine serves, for containers. */
const PORT = 8080;
const SIZE_OF_ANSWER = 765_432;

let folder: string;
let engine: EngineNamespaces;

const ctrWords = (words: string[]) => ['ctr', '--address', join(folder, 'socket'), ...words];
const ctr = (...words: string[]) => engine.run(ctrWords(words));
const RUN_BY = ['run', '--snapshotter', 'native', '--runc-binary', RUNTIME];
const run = (...words: string[]) => ctr(...RUN_BY, '--rm', ...words);
/** ctr leaves line ends to the terminal that it is on, and so do containers of runc: there are two returns. */
const SHOWN = /33 101\r+\n/;
const onTerminal = (words: string[]) => engine.onTerminal(ctrWords(words));

/** Processes and state that containers have left. A shim ends some time after it has answered. */
function left(): string[] {
  const folders = engine.run(['find', `${RUN}/runc`, '-mindepth', '2']).stdout.split('\n');
  return [...engine.containers, ...folders.filter(Boolean)];
}

const status = (name: string) =>
  ctr('task', 'ls')
    .stdout.split('\n')
    .map((line) => line.split(/ +/))
    .find(([task]) => task === name)?.[2];

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-containerd-');
  chmodSync(folder, 0o711);
  const configuration = join(folder, 'config.toml');
  const settings = [
    ...['version = 2', `root = "${folder}/root"`, `state = "${folder}/state"`],
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    ...['[grpc]', `address = "${folder}/socket"`],
    ...['[plugins."io.containerd.internal.v1.opt"]', `path = "${folder}/opt"`],
  ];
  writeFileSync(configuration, settings.join('\n'));
  const serve = `perl -e '${SERVER}' ${PORT} ${SIZE_OF_ANSWER}`;
  const daemon = `ip link set lo up; ${serve} & containerd --config ${configuration}`;
  engine = new EngineNamespaces([RUN, ...CNI], daemon);
  mkdirSync(join(folder, 'image'));
  populateWithPerl(join(folder, 'image'));
  execFileSync('tar', ['-C', join(folder, 'image'), '-cf', join(folder, 'image.tar'), '.']);
  const env = { ...process.env, TSVM_HOME: join(folder, 'home') };
  execFileSync(TSVM, ['import', join(folder, 'image.tar'), 'oci-test:1'], { env });
  execFileSync(TSVM, ['save', '-o', join(folder, 'saved.tar'), 'oci-test:1'], { env });
  while (ctr('version').status !== 0) await setTimeout(100);
  while (engine.run(['perl', '-e', CLIENT, `127.0.0.1:${PORT}`]).status !== 0) await setTimeout(100);
  expect(ctr('image', 'import', '--snapshotter', 'native', join(folder, 'saved.tar'))).toMatchObject({ status: 0 });
  expect(ctr('image', 'ls', '-q').stdout).toBe(`${IMAGE}\n`);
});

afterAll(() => {
  engine[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('containerd runs a program in a machine, with its streams and exit code', async () => {
  const script = 'uname -r; pwd; echo $A; echo err >&2; exit 3';
  const ran = run('--cwd', '/tmp', '--env', 'A=b', IMAGE, 'streams', 'sh', '-c', script);
  expect(ran).toMatchObject({ stderr: 'err\n', status: 3 });
  expect(ran.stdout).toMatch(/^6\.\S*\n\/tmp\nb\n$/);
  expect(ran.stdout).not.toContain(execFileSync('uname', ['-r'], { encoding: 'utf8' }));
  expect(ctr('container', 'ls', '-q').stdout).toBe('');
  await expect.poll(left).toEqual([]);
});

test('the limits, capabilities, mounts and the seccomp profile of ctr are those of the container', async () => {
  const limits = ['--memory-limit', '134217728', '--cpus', '0.5'];
  const files = ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/cpu.max'];
  expect(run(...limits, '--seccomp', IMAGE, 'limits', 'cat', ...files)).toMatchObject({
    stdout: '134217728\n50000 100000\n',
    status: 0,
  });
  const shared = join(folder, 'shared');
  mkdirSync(shared);
  const mounts = ['rw', 'ro'].flatMap((mode) => [
    '--mount',
    `type=bind,src=${shared},dst=/${mode},options=rbind:${mode}`,
  ]);
  const script = 'echo made >/rw/made; for path in /ro/x /x; do touch $path; done 2>&1; grep CapEff /proc/self/status';
  const given = ['--read-only', '--snapshotter', 'overlayfs', '--cap-drop', 'CAP_CHOWN', ...mounts];
  const { stdout } = run(...given, IMAGE, 'mounts', 'sh', '-c', script);
  expect(stdout.match(/Read-only file system/g)).toHaveLength(2);
  expect(stdout).toContain('CapEff:\t00000000a80425fa\n');
  expect(readFileSync(join(shared, 'made'), 'utf8')).toBe('made\n');
  await expect.poll(left).toEqual([]);
});

test('the network that ctr has CNI plugins make between create and start is that of the container', async () => {
  const range = (subnet: string) => [{ subnet }];
  const plugin = {
    ...{ type: 'bridge', bridge: 'cni0', isGateway: true, mtu: 1400 },
    ipam: {
      type: 'host-local',
      ranges: [range('10.93.0.0/24'), range('fd00:93::/64')],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }, { dst: '10.99.0.0/16', gw: '10.93.0.7' }],
    },
  };
  const network = JSON.stringify({ cniVersion: '0.4.0', name: 'made', plugins: [plugin] });
  const place = 'mkdir /etc/cni/net.d; ln -s /usr/lib/cni /opt/cni/bin; cat >/etc/cni/net.d/1.conflist';
  expect(engine.run(['sh', '-c', place], network)).toMatchObject({ status: 0, stderr: '' });
  const look = 'cat /sys/class/net/eth0/mtu; grep -c "0000630A.07005D0A" /proc/net/route';
  const ask = ['10.93.0.1', '[fd00:93::1]'].map((host) => `perl -e '${CLIENT}' ${host}:${PORT} | tr -s x`);
  const ran = run('--cni', IMAGE, 'wired', 'sh', '-c', [look, ...ask].join('; echo; '));
  expect(ran).toMatchObject({ status: 0, stderr: '' });
  expect(ran.stdout).toMatch(/^1400\n1\n\n10\.93\.0\.\d+ x\nfd00:93::\w+ x$/);
  // The kernel ends a network namespace, and the links in it, after its last process.
  await expect.poll(() => engine.run(['ip', '-brief', 'link', 'show', 'master', 'cni0']).stdout).toBe('');
  await expect.poll(left).toEqual([]);
});

test('a program runs on a terminal of ctr, with its size', async () => {
  const ran = onTerminal([...RUN_BY, '--rm', '-t', IMAGE, 'terminal', 'sh', '-c', `${SIZE}; exit 4`]);
  expect(ran).toMatchObject({ stdout: expect.stringMatching(SHOWN), status: 4 });
  await expect.poll(left).toEqual([]);
});

describe('a task in the background', () => {
  const task = (...words: string[]) => ctr('task', ...words);
  const exec = (id: string, ...words: string[]) => task('exec', '--exec-id', id, ...words);

  beforeAll(() => {
    const script = 'trap "exit 5" TERM; while :; do sleep 0.1; done';
    expect(ctr(...RUN_BY, '-d', IMAGE, 'task', 'sh', '-c', script)).toMatchObject({ status: 0, stderr: '' });
  });

  test('executes programs, with their streams, ids, terminals and exit codes', () => {
    const words = ['task', 'exec', '--exec-id', 'ids', '--user', '1000:5', '--cwd', '/tmp', 'task'];
    const ran = engine.run(ctrWords([...words, 'sh', '-c', 'id -u; id -g; pwd; cat; echo err >&2; exit 7']), 'in\n');
    expect(ran).toMatchObject({ stdout: '1000\n5\n/tmp\nin\n', stderr: 'err\n', status: 7 });
    expect(exec('killed', 'task', 'sh', '-c', 'kill -9 $$')).toMatchObject({ status: 137 });
    const shown = onTerminal(['task', 'exec', '--exec-id', 't', '-t', 'task', 'sh', '-c', `${SIZE}; exit 4`]);
    expect(shown).toMatchObject({ stdout: expect.stringMatching(SHOWN), status: 4 });
    expect(exec('absent', 'task', 'nosuch').stderr).toContain('exec: "nosuch": executable file not found in $PATH');
    expect(exec('folder', 'task', '/etc').stderr).toContain('permission denied');
  });

  test('has a program in the background, which is killed by its name', async () => {
    expect(exec('long', '-d', 'task', 'sleep', '2718')).toMatchObject({ status: 0 });
    const script = 'cat /proc/[0-9]*/cmdline | tr "\\0" " "';
    let count = 0;
    const running = () => exec(`look-${count++}`, 'task', 'sh', '-c', script).stdout.includes('sleep 2718');
    expect(running()).toBe(true);
    expect(task('kill', '--signal', 'SIGKILL', '--exec-id', 'long', 'task')).toMatchObject({ status: 0 });
    await expect.poll(running).toBe(false);
  });

  test('is paused, and runs on', () => {
    expect(task('pause', 'task')).toMatchObject({ status: 0 });
    expect(status('task')).toBe('PAUSED');
    expect(exec('paused', 'task', 'true').stderr).toContain('cannot exec in a paused state');
    expect(task('resume', 'task')).toMatchObject({ status: 0 });
    expect(status('task')).toBe('RUNNING');
    expect(exec('on', 'task', 'echo', 'on')).toMatchObject({ stdout: 'on\n', status: 0 });
  });

  test('tells its process on the host, what the cgroup of that one uses, and what the container uses', () => {
    const [, line = ''] = task('ps', 'task').stdout.split('\n');
    expect(line).toMatch(/^\d+ +-$/);
    const { memory, cpu } = JSON.parse(task('metrics', '--format', 'json', 'task').stdout);
    expect(memory.usage.usage).toBeGreaterThan(0);
    expect(cpu.usage.total).toBeGreaterThan(0);
    const { data } = JSON.parse(
      engine.run([RUNTIME, '--root', `${RUN}/runc/default`, 'events', '--stats', 'task']).stdout,
    );
    expect(data.pids.current).toBeGreaterThan(0);
    expect(data.memory.usage.usage).toBeGreaterThan(0);
    expect(task('checkpoint', 'task').stderr).toContain('checkpoint: not supported');
  });

  test('ends by its own exit code, and is deleted once it has ended', async () => {
    expect(task('rm', 'task').stderr).toContain('task must be stopped before deletion');
    expect(task('kill', '--signal', 'SIGTERM', 'task')).toMatchObject({ status: 0 });
    await expect.poll(() => status('task')).toBe('STOPPED');
    expect(task('rm', 'task').stderr).toContain('task task exit with non-zero exit code 5');
    expect(ctr('container', 'rm', 'task')).toMatchObject({ status: 0 });
    await expect.poll(left).toEqual([]);
  });
});

test('what a machine cannot have is refused in one line, and nothing is left', async () => {
  const refusal = (words: string[], text: string) => {
    const { status, stdout, stderr } = run(...words);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toBe(`ctr: failed to create shim task: OCI runtime create failed: ${text}: unknown\n`);
    for (const remove of [['container'], ['snapshot', '--snapshotter', 'native']]) ctr(...remove, 'rm', 'refused');
  };
  const host = "tsvm runs no container in the host's network: use runc for this one";
  refusal(['--net-host', IMAGE, 'refused', 'true'], host);
  refusal(['--with-ns', `network:/proc/1/ns/net`, IMAGE, 'refused', 'true'], host);
  refusal(['--device', '/dev/loop-control', IMAGE, 'refused', 'true'], 'device /dev/loop-control is not supported');
  refusal([IMAGE, 'refused', 'nosuch'], 'exec: "nosuch": executable file not found in $PATH');
  await expect.poll(left).toEqual([]);
});

test.each([
  ['stub', '137'],
  ['keeper.pid', '255'],
])('after the death of the %s, containerd is told %s, and nothing is left', async (victim, code) => {
  expect(ctr(...RUN_BY, '-d', IMAGE, 'victim', 'sleep', '1000')).toMatchObject({ status: 0 });
  expect(
    engine.run(['sh', '-c', `read pid started <${RUN}/runc/default/victim/${victim}; kill -9 $pid`]),
  ).toMatchObject({
    status: 0,
  });
  await expect.poll(() => status('victim')).toBe('STOPPED');
  expect(ctr('task', 'rm', 'victim').stderr).toContain(`exit with non-zero exit code ${code}`);
  expect(ctr('container', 'rm', 'victim')).toMatchObject({ status: 0 });
  await expect.poll(left).toEqual([]);
});

test('after the death of its shim, containerd removes the container with its machine', async () => {
  expect(ctr(...RUN_BY, '-d', IMAGE, 'orphan', 'sleep', '1000')).toMatchObject({ status: 0 });
  expect(engine.run(['sh', '-c', 'kill -9 $(pgrep -x containerd-shim)'])).toMatchObject({ status: 0 });
  await expect.poll(() => status('orphan')).toBe(undefined);
  await expect.poll(left).toEqual([]);
  expect(ctr('container', 'rm', 'orphan')).toMatchObject({ status: 0 });
});
