// Proves that containerd runs Kubernetes' pods in machines: by the calls of the Container Runtime
// Interface that a kubelet makes, with the network of CNI's plugins.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CriClient, type Fields } from '../fixtures/cri/client.js';
import { EngineNamespaces } from './engine-namespaces.js';
import { TSVM } from './machine.js';
import { CLIENT, populateWithPerl, SERVER } from './network-image.js';

/** A client of a forwarded port, which runs beside the engine. */
const FORWARD = fileURLToPath(new URL('../fixtures/cri/port-forward.mjs', import.meta.url));
/**
 * Listens at the loopback address alone. Sends back what comes, and how much that was once the
 * client sends no more.
 */
const ECHO = `use IO::Socket::IP; $| = 1; $SIG{PIPE} = "IGNORE";
$listener = IO::Socket::IP->new(Listen => 5, LocalHost => $ARGV[0], LocalPort => $ARGV[1], ReuseAddr => 1,
    GetAddrInfoFlags => 0) or die "$@\\n";
print "up\\n";
while ($client = $listener->accept) {
  $all = 0;
  while ($length = sysread($client, $bytes, 65536)) {
    $all += $length;
    for ($at = 0; $at < $length; $at += $written) {
      $written = syswrite($client, $bytes, $length - $at, $at) or last;
    }
  }
  syswrite($client, "end $all"); close $client;
}`;
/**
 * Its words: address, port, bytes to send before it ends its side. Prints how many came back, and
 * the last ones.
 */
const HALF_CLOSER = `use IO::Socket::IP;
$server = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1], Timeout => 60, GetAddrInfoFlags => 0) or die "$!\\n";
if (!fork) { print $server "x" x $ARGV[2]; $server->flush; shutdown($server, 1); exit; }
while ($length = sysread($server, $bytes, 65536)) { $all += $length; $last = substr($last . $bytes, -20); }
die "$!\\n" unless defined $length;
$last =~ s/^x+//; print "$all $last";`;

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
const IMAGE = 'docker.io/library/cri-test:1';
const PAUSE = 'docker.io/library/cri-pause:1';
/** Shims have their sockets and their state here, whatever the configuration of containerd says. */
const RUN = '/run/containerd';
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
const PORT = 8080;
const HOST_PORT = 18_083;
const SIZE_OF_ANSWER = 765_432;
/** What holds a pod: it ends when it is told to. */
const PAUSE_SOURCE = `#include <signal.h>
#include <unistd.h>
static void leave(int signal) { _exit(signal != SIGTERM && signal != SIGINT); }
int main(void) { signal(SIGTERM, leave); signal(SIGINT, leave); for (;;) pause(); }`;

let folder: string;
/** Of the cgroups of its pods. */
let cgroup: string;
let engine: EngineNamespaces;
let cri: CriClient;
let pods = 0;

const SETTINGS = (at: string) => `version = 2
root = "${at}/root"
state = "${at}/state"
[grpc]
  address = "${at}/socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "${at}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${at}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tsvm]
    runtime_type = "io.containerd.runc.v2"
    pod_annotations = ["dev.tsvm.*"]
    privileged_without_host_devices = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tsvm.options]
      BinaryName = "${RUNTIME}"
`;

const NETWORK = {
  cniVersion: '0.4.0',
  name: 'pods',
  plugins: [
    {
      ...{ type: 'bridge', bridge: 'cni0', isGateway: true },
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.94.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/tsvm-cri-');
  chmodSync(folder, 0o711);
  cgroup = `/${folder.split('/').at(-1)}`;
  for (const name of ['image', 'pause', 'cni', 'logs']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'config.toml'), SETTINGS(folder));
  writeFileSync(join(folder, 'cni/1.conflist'), JSON.stringify(NETWORK));
  execFileSync('gcc', ['-static', '-O2', '-x', 'c', '-', '-o', join(folder, 'pause/pause')], { input: PAUSE_SOURCE });
  writeFileSync(join(folder, 'pause/Dockerfile'), 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n');
  populateWithPerl(join(folder, 'image'));
  writeFileSync(join(folder, 'image/Dockerfile'), 'FROM scratch\nCOPY . /\nENV PATH=/bin\nCMD ["sh"]\n');
  const daemon = `ip link set lo up; containerd --config ${folder}/config.toml`;
  engine = new EngineNamespaces([RUN, '/run/netns', '/var/lib/cni'], daemon);
  const env = { ...process.env, TSVM_HOME: join(folder, 'home') };
  for (const [name, tag] of Object.entries({ image: 'cri-test:1', pause: 'cri-pause:1' })) {
    execFileSync(TSVM, ['build', '--quiet', '-t', tag, join(folder, name)], { env });
    execFileSync(TSVM, ['save', '-o', join(folder, `${name}.tar`), tag], { env });
  }
  const ctr = (...words: string[]) => engine.run(['ctr', '--address', `${folder}/socket`, '-n', 'k8s.io', ...words]);
  while (ctr('version').status !== 0) await setTimeout(100);
  for (const name of ['image', 'pause']) {
    expect(ctr('image', 'import', join(folder, `${name}.tar`))).toMatchObject({ status: 0 });
  }
  cri = new CriClient(join(folder, 'socket'));
  // It hears of them after ctr does.
  for (const name of [IMAGE, PAUSE]) while (!(await cri.images()).includes(name)) await setTimeout(50);
});

afterAll(async () => {
  // Of tests that failed.
  const { items } = await cri.call<{ items: Pick<Pod, 'id'>[] }>('ListPodSandbox');
  for (const pod of items) await removePod(pod);
  cri[Symbol.dispose]();
  engine[Symbol.dispose]();
  // They are the kubelet's to remove.
  execFileSync('find', ['/sys/fs/cgroup', '-depth', '-path', `*${cgroup}*`, '-type', 'd', '-delete']);
  rmSync(folder, { recursive: true, force: true });
});

interface Pod {
  id: string;
  config: Fields;
}

async function runPod(more: Fields = {}): Promise<Pod> {
  const name = `pod-${pods++}`;
  const config = {
    metadata: { name, uid: name, namespace: 'test' },
    hostname: name,
    log_directory: join(folder, 'logs', name),
    annotations: { 'dev.tsvm.accel': 'uml' },
    linux: { cgroup_parent: `${cgroup}/${name}`, security_context: { namespace_options: { pid: 'CONTAINER' } } },
    ...more,
  };
  const { pod_sandbox_id: id } = await cri.call<{ pod_sandbox_id: string }>('RunPodSandbox', {
    config,
    runtime_handler: 'tsvm',
  });
  return { id, config };
}

async function createContainer(pod: Pod, name: string, command: string[], more: Fields = {}) {
  const { container_id: id } = await cri.call<{ container_id: string }>('CreateContainer', {
    pod_sandbox_id: pod.id,
    sandbox_config: pod.config,
    config: {
      metadata: { name },
      image: { image: IMAGE },
      command,
      log_path: `${name}.log`,
      linux: { security_context: { namespace_options: { pid: 'CONTAINER' } } },
      ...more,
    },
  });
  return id;
}

async function start(pod: Pod, name: string, command: string[], more: Fields = {}) {
  const id = await createContainer(pod, name, command, more);
  await cri.call('StartContainer', { container_id: id });
  return id;
}

async function removePod({ id }: Pick<Pod, 'id'>): Promise<void> {
  await cri.call('StopPodSandbox', { pod_sandbox_id: id });
  await cri.call('RemovePodSandbox', { pod_sandbox_id: id });
}

/** Processes, state, cgroups and network interfaces that pods have left. */
function left(): string[] {
  const lines = (...words: string[]) => engine.run(words).stdout.split('\n').filter(Boolean);
  return [
    ...engine.containers,
    ...lines('find', `${RUN}/runc`, '-mindepth', '2'),
    ...lines('find', '/run/netns', '-mindepth', '1'),
    ...lines('ip', '-brief', 'link', 'show', 'master', 'cni0'),
    ...lines('find', '/sys/fs/cgroup', '-path', `*${cgroup}/*/*`, '-type', 'd'),
  ];
}

/**
 * The lines of a container's log without their times, sorted: those of stdout and stderr come in
 * any order.
 */
const linesOf = (pod: string, name: string) =>
  readFileSync(join(folder, 'logs', pod, `${name}.log`), 'utf8')
    .replace(/^\S+ /gm, '')
    .split('\n')
    .sort();

const WAIT = ['sh', '-c', 'trap "exit 6" TERM; echo out; echo err >&2; while :; do sleep 0.1; done'];

test('a pod is one machine, whose containers run, execute programs, log, stop and are removed', async () => {
  const pod = await runPod({ port_mappings: [{ container_port: PORT, host_port: HOST_PORT }] });
  const one = await start(pod, 'one', ['perl', '-e', SERVER, String(PORT), String(SIZE_OF_ANSWER)]);
  const two = await start(pod, 'two', WAIT);
  await expect.poll(() => linesOf('pod-0', 'one')).toContain('stdout F up');
  const { containers } = await cri.call<{ containers: { id: string; state: string }[] }>('ListContainers');
  expect(containers.map(({ id, state }) => [id, state]).sort()).toEqual(
    [one, two].sort().map((id) => [id, 'CONTAINER_RUNNING']),
  );
  const [kernel, boot, other] = [
    await cri.execSync(one, 'uname', '-r'),
    await cri.execSync(one, 'cat', BOOT_ID),
    await cri.execSync(two, 'cat', BOOT_ID),
  ];
  expect(kernel).toMatchObject({ stdout: expect.stringMatching(/^6\.\S*\n$/), stderr: '', code: 0 });
  expect(kernel.stdout).not.toBe(execFileSync('uname', ['-r'], { encoding: 'utf8' }));
  expect(boot.stdout).toMatch(/^[0-9a-f-]{36}\n$/);
  expect(other).toEqual(boot);
  expect(boot.stdout).not.toBe(readFileSync(BOOT_ID, 'utf8'));
  expect(await cri.execSync(two, 'sh', '-c', 'uname -n; echo err >&2; exit 7')).toEqual({
    stdout: 'pod-0\n',
    stderr: 'err\n',
    code: 7,
  });
  expect(await cri.execSync(one, 'sh', '-c', 'echo shared >/dev/shm/file')).toMatchObject({ code: 0 });
  expect(await cri.execSync(two, 'cat', '/dev/shm/file')).toMatchObject({ stdout: 'shared\n' });
  await expect(cri.execSync(two, 'nosuch')).rejects.toThrow('exec: "nosuch": executable file not found in $PATH');
  // Each other by the loopback interface, the node by the pod's address, and by the port of the
  // node.
  const { status } = await cri.call<{ status: { network: { ip: string } } }>('PodSandboxStatus', {
    pod_sandbox_id: pod.id,
  });
  expect(status.network.ip).toMatch(/^10\.94\.0\.\d+$/);
  expect((await cri.execSync(two, 'perl', '-e', CLIENT, `127.0.0.1:${PORT}`)).stdout).toHaveLength(SIZE_OF_ANSWER);
  for (const address of [`${status.network.ip}:${PORT}`, `10.94.0.1:${HOST_PORT}`]) {
    expect(engine.run(['perl', '-e', CLIENT, address]).stdout).toHaveLength(SIZE_OF_ANSWER);
  }
  await expect.poll(() => linesOf('pod-0', 'two')).toEqual(['', 'stderr F err', 'stdout F out']);
  await cri.call('StopContainer', { container_id: two, timeout: 60 });
  expect(await cri.status(two)).toMatchObject({ state: 'CONTAINER_EXITED', exit_code: 6, reason: 'Error' });
  await cri.call('RemoveContainer', { container_id: two });
  expect((await cri.execSync(one, 'cat', BOOT_ID)).stdout).toBe(boot.stdout);
  await cri.call('StopContainer', { container_id: one, timeout: 0 });
  expect(await cri.status(one)).toMatchObject({ state: 'CONTAINER_EXITED', exit_code: 137 });
  await removePod(pod);
  await expect.poll(left).toEqual([]);
});

test('the containers of a pod that shares its processes see and end those of each other', async () => {
  const shared = { security_context: { namespace_options: { pid: 'POD' } } };
  const pod = await runPod({ linux: { cgroup_parent: `${cgroup}/shared`, ...shared } });
  const one = await start(pod, 'one', WAIT, { linux: shared });
  await expect.poll(() => linesOf('pod-1', 'one')).toContain('stdout F out');
  const two = await start(pod, 'two', ['sleep', '4321'], { linux: shared });
  const commands = async (id: string) =>
    (await cri.execSync(id, 'sh', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "')).stdout;
  for (const id of [one, two]) {
    const seen = await commands(id);
    for (const command of ['/pause', 'sleep 4321', 'trap "exit 6" TERM']) expect(seen).toContain(command);
  }
  // Process 1 is what holds the pod.
  expect((await cri.execSync(two, 'cat', '/proc/1/cmdline')).stdout).toBe('/pause\0');
  const isTwo = 'test "$(tr "\\0" " " <$each/cmdline)" = "sleep 4321 "';
  const end = `for each in /proc/[0-9]*; do if ${isTwo}; then kill -9 \${each#/proc/}; fi; done`;
  expect(await cri.execSync(one, 'sh', '-c', end)).toMatchObject({ code: 0 });
  await expect.poll(() => cri.status(two)).toMatchObject({ state: 'CONTAINER_EXITED', exit_code: 137 });
  await cri.call('StopContainer', { container_id: one, timeout: 60 });
  expect(await cri.status(one)).toMatchObject({ state: 'CONTAINER_EXITED', exit_code: 6 });
  // A container of the pod that does not share them has its own.
  const own = await start(pod, 'own', WAIT);
  expect(await commands(own)).not.toContain('/pause');
  await removePod(pod);
  await expect.poll(left).toEqual([]);
});

test('a pod in the network of its node is refused', async () => {
  const linux = { security_context: { namespace_options: { network: 'NODE', pid: 'CONTAINER' } } };
  await expect(runPod({ linux })).rejects.toThrow(
    "tsvm runs no container in the host's network: use runc for this one",
  );
  await expect.poll(left).toEqual([]);
});

test('ports of a pod are forwarded to the loopback interface of its machine', async () => {
  const pod = await runPod();
  const log = String((pod.config.metadata as Fields).name);
  await start(pod, 'echo', ['perl', '-e', ECHO, '127.0.0.1', String(PORT)]);
  await start(pod, 'six', ['perl', '-e', ECHO, '::1', String(PORT + 1)]);
  for (const name of ['echo', 'six']) await expect.poll(() => linesOf(log, name)).toContain('stdout F up');
  const forward = async (port: number, input: Buffer) => {
    const { url } = await cri.call<{ url: string }>('PortForward', { pod_sandbox_id: pod.id, port: [port] });
    const { stdout, stderr } = engine.run([process.execPath, FORWARD, url], input);
    expect(stderr).toBe('');
    return JSON.parse(stdout);
  };
  const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const [small, large] = [Buffer.from('hello'), randomBytes(5_000_001)];
  for (const [port, bytes] of [
    [PORT, small],
    [PORT, large],
    [PORT + 1, small],
  ] as const) {
    const { length } = bytes;
    expect(await forward(port, bytes)).toEqual({ ports: [port, port], length, hash: hash(bytes), error: '' });
  }
  // Nothing listens there.
  expect(await forward(PORT + 2, Buffer.alloc(0))).toMatchObject({
    length: 0,
    error: expect.stringMatching(/error forwarding port 8082.*(?:connection reset by peer|broken pipe)/),
  });
  // The engine itself never ends one side alone.
  const [namespace] = engine.run(['find', '/run/netns', '-mindepth', '1']).stdout.split('\n');
  const inside = (...words: string[]) => engine.run(['nsenter', `--net=${namespace}`, '--', ...words]);
  for (const [address, port] of [
    ['127.0.0.1', PORT],
    ['::1', PORT + 1],
  ] as const) {
    const ended = inside('perl', '-e', HALF_CLOSER, address, String(port), '2000003');
    expect(ended).toMatchObject({ status: 0, stderr: '', stdout: '2000014 end 2000003' });
  }
  expect(inside('perl', '-e', HALF_CLOSER, '127.0.0.1', String(PORT + 2), '0').status).not.toBe(0);
  await cri.call('StopPodSandbox', { pod_sandbox_id: pod.id });
  await expect.poll(left).toEqual([]);
  await removePod(pod);
});

test('a container whose target is another one sees and ends the processes of that one alone', async () => {
  const pod = await runPod();
  const log = String((pod.config.metadata as Fields).name);
  const target = await start(pod, 'target', WAIT);
  await expect.poll(() => linesOf(log, 'target')).toContain('stdout F out');
  const other = await start(pod, 'other', ['sleep', '1234']);
  const targeted = { linux: { security_context: { namespace_options: { pid: 'TARGET', target_id: target } } } };
  const one = await start(pod, 'one', ['sleep', '4321'], targeted);
  const commands = async (id: string) =>
    (await cri.execSync(id, 'sh', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "')).stdout;
  for (const id of [target, one]) {
    const seen = await commands(id);
    for (const command of ['trap "exit 6" TERM', 'sleep 4321']) expect(seen).toContain(command);
    for (const command of ['/pause', 'sleep 1234']) expect(seen).not.toContain(command);
  }
  expect((await cri.execSync(other, 'cat', '/proc/1/cmdline')).stdout).toBe('sleep\x001234\0');
  for (const command of ['trap', 'sleep 4321', '/pause']) expect(await commands(other)).not.toContain(command);
  // Its own mounts are its own.
  await cri.execSync(one, 'touch', '/own');
  expect(await cri.execSync(target, 'sh', '-c', '[ -e /own ]')).toMatchObject({ code: 1 });
  // The end of the target's process 1 is that of all in its namespace: the command may end with
  // them.
  const end = await cri.execSync(one, 'sh', '-c', 'kill -TERM 1; sleep 60');
  expect(end.code).not.toBe(0);
  await expect.poll(() => cri.status(target)).toMatchObject({ state: 'CONTAINER_EXITED', exit_code: 6 });
  await expect.poll(() => cri.status(one)).toMatchObject({ state: 'CONTAINER_EXITED', exit_code: 137 });
  expect(await cri.execSync(other, 'echo', 'on')).toMatchObject({ stdout: 'on\n', code: 0 });
  await expect(createContainer(pod, 'late', WAIT, targeted)).rejects.toThrow('CONTAINER_EXITED');
  await removePod(pod);
  await expect.poll(left).toEqual([]);
});

test('the machine of a pod has the size that its containers need, and the limits of each are its own', async () => {
  const MIB = 2 ** 20;
  const parent = `${cgroup}/sized`;
  const resources = { memory_limit_in_bytes: 200 * MIB, cpu_quota: 150_000, cpu_period: 100_000, cpu_shares: 512 };
  const security_context = { namespace_options: { pid: 'CONTAINER' } };
  const pod = await runPod({ linux: { cgroup_parent: parent, security_context, resources } });
  // The machine is in the cgroup of the container that holds the pod, whose own share is next to
  // nothing.
  const host = (file: string) =>
    readFileSync(join('/sys/fs/cgroup', file.replace('POD', `${parent}/${pod.id}`)), 'utf8');
  expect(host('cpu/POD/cpu.shares')).toBe('512\n');
  expect(host('cpu/POD/cpu.cfs_quota_us')).toBe('250000\n');
  expect(Number(host('memory/POD/memory.limit_in_bytes'))).toBeGreaterThan(264 * MIB);
  const limited = {
    linux: {
      resources: { memory_limit_in_bytes: 100 * MIB, cpu_quota: 50_000, cpu_period: 100_000 },
      security_context,
    },
  };
  const id = await start(pod, 'limited', WAIT, limited);
  const guest = async (file: string) => (await cri.execSync(id, 'cat', file)).stdout;
  const [, total] = /MemTotal: +(\d+) kB/.exec(await guest('/proc/meminfo')) ?? [];
  expect(Number(total)).toBeLessThan((264 * MIB) / 1024);
  expect(Number(total)).toBeGreaterThan((200 * MIB) / 1024);
  const limits = async () => (await guest('/sys/fs/cgroup/memory.max')) + (await guest('/sys/fs/cgroup/cpu.max'));
  expect(await limits()).toBe(`${100 * MIB}\n50000 100000\n`);
  await cri.call('UpdateContainerResources', {
    container_id: id,
    linux: { memory_limit_in_bytes: 150 * MIB, cpu_quota: 80_000, cpu_period: 100_000 },
  });
  expect(await limits()).toBe(`${150 * MIB}\n80000 100000\n`);
  // More than the machine has.
  const most = { container_id: id, linux: { memory_limit_in_bytes: 201 * MIB } };
  await expect(cri.call('UpdateContainerResources', most)).rejects.toThrow('machine');
  const { stats } = await cri.call<{ stats: { memory: { working_set_bytes: { value: number } } } }>('ContainerStats', {
    container_id: id,
  });
  expect(stats.memory.working_set_bytes.value).toBeGreaterThan(0);
  await removePod(pod);
  await expect.poll(left).toEqual([]);
});

describe('after the death of', () => {
  const [ready, ended] = ['SANDBOX_READY', 'SANDBOX_NOTREADY'];
  /** Prints the process id of a container's part. */
  const victims = {
    'the stub of a container': (_: string, id: string) => `read pid _ <${RUN}/runc/k8s.io/${id}/stub`,
    'the stub that holds the pod': (pod: string) => `read pid _ <${RUN}/runc/k8s.io/${pod}/stub`,
    'the keeper': (pod: string) => `read pid _ <${RUN}/runc/k8s.io/${pod}/keeper.pid`,
    'the machine': (pod: string) => `read keeper _ <${RUN}/runc/k8s.io/${pod}/keeper.pid; pid=$(pgrep -P $keeper)`,
  };

  test.each([
    ['the stub of a container', 137, ready],
    // As with runc, the containers run on until the kubelet stops the pod.
    ['the stub that holds the pod', undefined, ended],
    ['the keeper', 255, ended],
    ['the machine', 255, ended],
  ] as const)('%s, the engine is told, and nothing is left', async (victim, code, state) => {
    const pod = await runPod();
    const id = await start(pod, 'victim', WAIT);
    const killed = engine.run(['sh', '-c', `${victims[victim](pod.id, id)}; kill -9 $pid`]);
    expect(killed).toMatchObject({ status: 0, stderr: '' });
    const told = code === undefined ? { state: 'CONTAINER_RUNNING' } : { state: 'CONTAINER_EXITED', exit_code: code };
    await expect.poll(() => cri.status(id)).toMatchObject(told);
    const status = async () =>
      (await cri.call<{ status: { state: string } }>('PodSandboxStatus', { pod_sandbox_id: pod.id })).status.state;
    await expect.poll(status).toBe(state);
    if (code === undefined) expect(await cri.execSync(id, 'echo', 'on')).toMatchObject({ stdout: 'on\n', code: 0 });
    // The kubelet's next container is in the same pod, as long as there is one.
    const next = start(pod, 'next', WAIT);
    if (state === ready) await next;
    else await expect(next).rejects.toThrow('no running task found');
    await removePod(pod);
    await expect.poll(left).toEqual([]);
  });
});
