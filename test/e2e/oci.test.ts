// Proves that podman runs containers in machines by the OCI runtime `tsvm-oci`: streams, exit codes, ids,
// files, signals, and nothing left behind.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
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
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { populate } from '../unit/guest-agent/container-image.js';
import { SIZE } from './engine-namespaces.js';
import { cgroupsNamed, removeCgroups } from './folders.js';
import { fastest, isUml } from './machine.js';
import { list } from './own-home.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
const IMAGE = 'localhost/oci-test:1';
/** In each hierarchy of cgroups: podman leaves its folders. */
const CGROUP = `tsvm-oci-${process.pid}`;
const ANY = ['--network', 'none', '--cgroup-parent', `/${CGROUP}`];
const NONE = [...ANY, '--annotation', 'dev.tsvm.accel=uml'];

let folder: string;
let environment: NodeJS.ProcessEnv;

const global = () => [
  ...['--root', join(folder, 'root'), '--runroot', join(folder, 'runroot'), '--tmpdir', join(folder, 'tmp')],
  ...['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none', '--runtime', RUNTIME],
];

function podman(args: string[], input = ''): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('podman', [...global(), ...args], { input, encoding: 'utf8', env: environment });
}

/** The text of a file that others may remove meanwhile. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const commandLine = (pid: number) => readText(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');

/** The cgroups of containers of this test, in all hierarchies. */
const cgroups = () =>
  cgroupsNamed(CGROUP).filter((path) => path.includes(`/${CGROUP}/libpod-`) && !/\/libpod-conmon-[^/]*$/.test(path));

/** What the runtime has on this host for containers of this test. */
const left = () => {
  const found: string[] = [];
  for (const id of list('/run/tsvm-oci')) {
    if (readText(join('/run/tsvm-oci', id, 'head.json')).includes(folder)) found.push(id);
  }
  for (const pid of list('/proc').filter((name) => /^\d+$/.test(name))) {
    const line = commandLine(Number(pid));
    if (line.includes('keeper.js') && line.includes(folder)) found.push(line);
  }
  return [...found, ...cgroups()];
};

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-oci-');
  chmodSync(folder, 0o711);
  const configuration = join(folder, 'containers.conf');
  writeFileSync(configuration, '[containers]\ndefault_ulimits=["nofile=1024:4096","nproc=1024:4096"]\n');
  environment = { ...process.env, CONTAINERS_CONF: configuration };
  mkdirSync(join(folder, 'image'));
  populate(join(folder, 'image'));
  execFileSync('tar', ['-C', join(folder, 'image'), '-cf', join(folder, 'image.tar'), '.']);
  expect(podman(['import', join(folder, 'image.tar'), IMAGE])).toMatchObject({ status: 0 });
});

afterAll(() => {
  podman(['rm', '--all', '--force', '--time', '0']);
  rmSync(folder, { recursive: true, force: true });
  removeCgroups(CGROUP);
});

test('podman runs a program in a machine, with its streams, ids and exit code', () => {
  const script = 'uname -r; id -u; id -g; pwd; echo $A; cat; echo err >&2; exit 3';
  const options = ['run', '--rm', '-i', ...NONE, '-u', '1000:5', '-w', '/tmp', '-e', 'A=b'];
  const { stdout, stderr, status } = podman([...options, IMAGE, 'sh', '-c', script], 'typed\n');
  expect(stderr).toBe('err\n');
  expect(stdout).toMatch(/^6\.\S*uml\S*\n1000\n5\n\/tmp\nb\ntyped\n$|^6\.\S*\n1000\n5\n\/tmp\nb\ntyped\n$/);
  expect(stdout).not.toContain(execFileSync('uname', ['-r'], { encoding: 'utf8' }));
  expect(status).toBe(3);
  expect(left()).toEqual([]);
});

test("a container writes to the engine's layer and to folders of the host, and not to read-only ones", () => {
  const shared = join(folder, 'shared');
  mkdirSync(shared);
  const mounts = ['-v', `${shared}:/rw`, '-v', `${shared}:/ro:ro`];
  const script = 'echo layer >/made; echo shared >/rw/made; touch /ro/x 2>&1; exit 0';
  const run = podman(['run', '--name', 'writer', ...NONE, ...mounts, IMAGE, 'sh', '-c', script]);
  expect(run.stdout).toContain('Read-only file system');
  expect(readFileSync(join(shared, 'made'), 'utf8')).toBe('shared\n');
  expect(podman(['cp', 'writer:/made', join(folder, 'copy')])).toMatchObject({ status: 0 });
  expect(readFileSync(join(folder, 'copy'), 'utf8')).toBe('layer\n');
  expect(podman(['rm', 'writer'])).toMatchObject({ status: 0 });
  expect(left()).toEqual([]);
});

test("a tmpfs begins with the image's files, and so a read-only container can write where podman lets it", () => {
  const script =
    'cat /opt/not-executable; echo x >/opt/more; touch /tmp/x /run/x /var/tmp/x && touch /x 2>&1; /shared/run 2>&1; exit 4';
  writeFileSync(join(folder, 'run'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
  const shared = ['-v', `${folder}:/shared:noexec`];
  const run = podman(['run', '--rm', ...NONE, '--read-only', '--tmpfs', '/opt', ...shared, IMAGE, 'sh', '-c', script]);
  expect(run).toMatchObject({
    stdout: "#!/bin/sh\ntouch: cannot touch '/x': Read-only file system\nsh: 1: /shared/run: Permission denied\n",
    status: 4,
  });
  expect(left()).toEqual([]);
});

test('podman stops a container with its own exit code, and kills one', async () => {
  const script = 'trap "exit 5" TERM; echo up; while :; do sleep 1; done';
  for (const [name, command, code] of [
    ['stopped', ['stop', '--time', '30'], '5'],
    ['killed', ['kill'], '137'],
  ] as const) {
    expect(podman(['run', '-d', '--name', name, ...NONE, IMAGE, 'sh', '-c', script])).toMatchObject({ status: 0 });
    const logs = spawn('podman', [...global(), 'logs', '-f', name], { env: environment });
    for await (const chunk of logs.stdout) if (String(chunk).includes('up')) break;
    logs.kill();
    expect(podman([...command, name])).toMatchObject({ status: 0 });
    expect(podman(['wait', name]).stdout).toBe(`${code}\n`);
    expect(podman(['rm', name])).toMatchObject({ status: 0 });
  }
  expect(left()).toEqual([]);
});

describe('in a running container', () => {
  const runtime = (args: string[], input = '') => spawnSync(RUNTIME, args, { input, encoding: 'utf8', env: {} });
  const sh = (script: string, ...options: string[]) => podman(['exec', ...options, 'busy', 'sh', '-c', script], 'in\n');
  let id = '';

  beforeAll(() => {
    const run = podman(['run', '-d', '--name', 'busy', ...ANY, IMAGE, 'sleep', '1000']);
    expect(run).toMatchObject({ status: 0 });
    id = run.stdout.trim();
  });
  afterAll(() => {
    expect(podman(['rm', '--force', '--time', '0', 'busy'])).toMatchObject({ status: 0 });
    expect(left()).toEqual([]);
  });

  test('what works for it is in the cgroup that podman names, which has limits that hold its machine', async () => {
    const { pid } = JSON.parse(runtime(['state', id]).stdout);
    const own = join(`/${CGROUP}`, `libpod-${id}`);
    const inCgroup = (process: number) =>
      readFileSync(`/proc/${process}/cgroup`, 'utf8')
        .trim()
        .split('\n')
        .map((line) => line.split(':').slice(2).join(':'));
    expect([...new Set(inCgroup(pid))]).toEqual([own]);
    const pidFile = join(folder, 'exec.pid');
    const exec = spawn(RUNTIME, ['exec', '--pid-file', pidFile, id, 'sh', '-c', 'echo up; read end']);
    await once(exec.stdout, 'data');
    expect([...new Set(inCgroup(Number(readFileSync(pidFile, 'utf8'))))]).toEqual([own]);
    exec.stdin.end('\n');
    expect(await once(exec, 'exit')).toEqual([0, null]);
    const [first = ''] = cgroups();
    const processes = readFileSync(join(first, 'cgroup.procs'), 'utf8').trim().split('\n').map(Number);
    const lines = processes.map(commandLine);
    for (const part of ['keeper.js', 'machine.cjs', 'tsvm-oci']) expect(lines.join('\n')).toContain(part);
    expect(sh('true').status).toBe(0);
  });

  test('that names no machine, it is KVM, or User-Mode Linux where no stock kernel runs on that', () => {
    const runsOnUml = sh('grep -q "model name.*UML" /proc/cpuinfo').status === 0;
    expect(runsOnUml).toBe(fastest.some(isUml));
  });

  test('podman executes a program, with its streams, ids and exit code', () => {
    const options = ['-i', '-u', '1000:5', '-w', '/tmp', '-e', 'A=b'];
    const ran = sh('id -u; id -g; pwd; echo $A; cat; echo err >&2; exit 7', ...options);
    expect(ran).toMatchObject({ stdout: '1000\n5\n/tmp\nb\nin\n', stderr: 'err\n', status: 7 });
    expect(podman(['exec', 'busy', 'nosuch'])).toMatchObject({ status: 127 });
    expect(podman(['exec', 'busy', '/etc'])).toMatchObject({ status: 126 });
  });

  test('podman executes a program on a terminal, with its size', () => {
    const words = ['podman', ...global(), 'exec', '-it', 'busy', 'sh', '-c', `${SIZE}; exit 4`];
    const script = `stty cols 101 rows 33; ${words.map((word) => `'${word}'`).join(' ')}`;
    const ran = spawnSync('script', ['-qec', script, '/dev/null'], { encoding: 'utf8', env: environment });
    expect(ran).toMatchObject({ stdout: expect.stringContaining('33 101\r\n'), status: 4 });
  });

  test('the command executes by words or by a file, waits, and passes a signal on', async () => {
    const words = ['--user', '1000:5', '--env', 'A=b', '--cwd', '/tmp', '--additional-gids', '9', id];
    const ran = runtime(['exec', ...words, 'sh', '-c', 'id -G; pwd; echo $A; cat; exit 9'], 'typed');
    expect(ran).toMatchObject({ stdout: '5 9\n/tmp\nb\ntyped', status: 9 });
    expect(runtime(['exec', id, 'nosuch'])).toMatchObject({
      stderr: 'exec: "nosuch": executable file not found in $PATH\n',
      status: 255,
    });
    const process = join(folder, 'process.json');
    const script = 'trap "exit 6" TERM; echo up; while :; do sleep 1; done';
    const described = { args: ['sh', '-c', script], cwd: '/', user: { uid: 0, gid: 0 }, env: ['PATH=/bin:/usr/bin'] };
    writeFileSync(process, JSON.stringify(described, null, 2));
    const waits = spawn(RUNTIME, ['exec', '--process', process, id]);
    for await (const chunk of waits.stdout) if (String(chunk).includes('up')) break;
    waits.kill('SIGTERM');
    expect((await once(waits, 'exit'))[0]).toBe(6);
    writeFileSync(process, '{}');
    expect(runtime(['exec', '--process', process, id]).stderr).toMatch(/^exec: process\.\w+: /);
  });

  test('a program ends with the process of the host that engines see in its place', async () => {
    const pidFile = join(folder, 'exec.pid');
    // The program has the streams.
    const words = ['exec', '--detach', '--pid-file', pidFile, id, 'sleep', '2718'];
    expect(spawnSync(RUNTIME, words, { stdio: 'ignore', env: {} })).toMatchObject({ status: 0 });
    const running = () => sh('cat /proc/[0-9]*/cmdline | tr "\\0" " "').stdout.includes('sleep 2718');
    expect(running()).toBe(true);
    process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');
    await expect.poll(running).toBe(false);
  });

  test('podman pauses it, and lets it run on', () => {
    expect(podman(['pause', 'busy'])).toMatchObject({ status: 0 });
    expect(JSON.parse(runtime(['state', id]).stdout)).toMatchObject({ status: 'paused' });
    expect(runtime(['exec', id, 'true']).stderr).toBe('cannot exec in a paused container\n');
    expect(runtime(['update', '--memory', '1g', id]).stderr).toBe('update: the container is paused\n');
    expect(runtime(['events', '--stats', id]).stderr).toBe('events: the container is paused\n');
    expect(podman(['unpause', 'busy'])).toMatchObject({ status: 0 });
    expect(sh('echo on').stdout).toBe('on\n');
    expect(runtime(['resume', id]).stderr).toBe('container not paused\n');
  });

  test('its limits are updated, within the size of its machine', () => {
    const limits = () => sh('cd /sys/fs/cgroup; cat memory.max pids.max cpu.max').stdout.split('\n').slice(0, 3);
    expect(limits()[0]).toBe('max');
    const resources = join(folder, 'resources.json');
    writeFileSync(resources, '{\n  "memory": { "limit": 134217728 },\n  "pids": { "limit": 77 }\n}\n');
    expect(runtime(['update', '--resources', resources, id])).toMatchObject({ status: 0, stderr: '' });
    expect(limits()).toEqual(['134217728', '77', 'max 100000']);
    const input = '{"cpu":{"quota":50000,"period":100000}}';
    expect(runtime(['update', '-r', '-', id], input)).toMatchObject({ status: 0, stderr: '' });
    expect(podman(['update', '--memory', '200m', 'busy'])).toMatchObject({ status: 0 });
    expect(limits()).toEqual(['209715200', '77', '50000 100000']);
    expect(runtime(['update', '--memory', '3g', id])).toMatchObject({
      stderr: expect.stringContaining('is above what the machine of the container has: 2080374784; '),
      status: 1,
    });
    expect(runtime(['update', '--pids-limit', '-1', '--cpu-quota=-1', '--cpu-share', '5', id]).stderr).toBe('');
    expect(limits()).toEqual(['209715200', 'max', 'max 100000']);
    expect(runtime(['update', '--resources', '/nowhere', id]).stderr).toBe('/nowhere: No such file or directory\n');
  });

  test('its statistics are told, once or at an interval, in the shape of runc', async () => {
    const once = runtime(['events', '--stats', id]);
    expect(once).toMatchObject({ status: 0, stderr: '' });
    const { type, id: of, data } = JSON.parse(once.stdout);
    expect({ type, of }).toEqual({ type: 'stats', of: id });
    expect(data).toMatchObject({
      pids: { current: 1 },
      memory: { usage: { usage: expect.any(Number), limit: expect.any(Number) }, raw: { anon: expect.any(Number) } },
      cpu: { usage: { total: expect.any(Number) } },
      hugetlb: {},
      network_interfaces: null,
    });
    expect(data.memory.usage.usage).toBeGreaterThan(0);
    expect(data.cpu.usage.total).toBeGreaterThan(0);
    const follows = spawn(RUNTIME, ['events', '--interval', '200ms', id]);
    let seen = '';
    for await (const chunk of follows.stdout) {
      seen += chunk;
      if (seen.split('\n').length > 2) break;
    }
    follows.kill();
    expect(JSON.parse(seen.split('\n')[1] ?? '')).toMatchObject({ type: 'stats', id });
    expect(runtime(['events', '--interval', '5', id]).stderr).toBe(
      'events: --interval 5: use a duration above 0, as 5s\n',
    );
  });

  test('what podman shows of it is its process on the host, or what its own ps says', () => {
    expect(podman(['stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}}', 'busy']).stdout).toMatch(/^busy \d+\n$/);
    expect(podman(['top', 'busy', 'pid']).stdout.trim()).toBe('PID');
    expect(sh(`printf '#!/bin/sh\necho given "$1"\n' >/bin/ps; chmod +x /bin/ps`)).toMatchObject({ status: 0 });
    expect(podman(['top', 'busy', '-o', 'pid,args'])).toMatchObject({ stdout: 'given -o\n', status: 0 });
  });

  test('the command lists it, and its process', () => {
    const { pid, status } = JSON.parse(runtime(['state', id]).stdout);
    expect(status).toBe('running');
    expect(JSON.parse(runtime(['ps', '--format', 'json', id]).stdout)).toEqual([pid]);
    expect(JSON.parse(runtime(['list', '--format', 'json']).stdout)).toContainEqual(
      expect.objectContaining({ id, pid }),
    );
    expect(runtime(['list', '-q']).stdout.split('\n')).toContain(id);
  });
});

test('limits hold on the host too, with room for the machine, and change with an update', () => {
  const limits = ['-m', '128m', '--cpus', '0.5', '--cpu-shares', '512'];
  const run = podman(['run', '-d', '--name', 'bounded', ...NONE, ...limits, IMAGE, 'sleep', '1000']);
  expect(run).toMatchObject({ status: 0 });
  /** By its name of cgroup v1, or of v2 where the host has that alone. */
  const read = (...names: [string, string]) => {
    const files = cgroups().flatMap((path) => names.map((name) => join(path, name)));
    return readFileSync(files.find((file) => existsSync(file)) ?? '', 'utf8').trim();
  };
  const quota = () => read('cpu.cfs_quota_us', 'cpu.max').replace(/ .*/, '');
  const MIB = 2 ** 20;
  // The container's, the kernel's and the overhead of User-Mode Linux (sandbox/cgroup/limits.ts).
  expect(Number(read('memory.limit_in_bytes', 'memory.max'))).toBe((128 + 64 + 256 + 24 + 384) * MIB);
  expect(quota()).toBe('150000');
  expect(['512', '20']).toContain(read('cpu.shares', 'cpu.weight'));
  expect(podman(['update', '--cpus', '1', 'bounded'])).toMatchObject({ status: 0 });
  expect(quota()).toBe('200000');
  expect(podman(['rm', '--force', '--time', '0', 'bounded'])).toMatchObject({ status: 0 });
  expect(left()).toEqual([]);
});

test("podman's hooks run at their points, and one that fails is podman's failure", () => {
  const hooks = join(folder, 'hooks');
  const notes = join(folder, 'notes');
  mkdirSync(hooks);
  const hook = (when: string, script: string) => {
    const command = { path: '/bin/sh', args: ['sh', '-c', script] };
    const described = { version: '1.0.0', hook: command, when: { always: true }, stages: [when] };
    writeFileSync(join(hooks, `${when}.json`), JSON.stringify(described));
  };
  const run = () => podman(['--hooks-dir', hooks, 'run', '--rm', ...NONE, IMAGE, 'echo', 'ran']);
  const stages = ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop'];
  for (const stage of stages) hook(stage, `cat >>${notes}; echo " ${stage}" >>${notes}`);
  expect(run()).toMatchObject({ status: 0, stdout: 'ran\n', stderr: '' });
  const noted = readFileSync(notes, 'utf8').trim().split('\n');
  expect(noted.map((line) => line.split(' ').at(-1))).toEqual(stages);
  for (const line of noted) expect(line).toMatch(/^\{"ociVersion":.*"id":"[0-9a-f]{64}"/);
  hook('createRuntime', 'echo of no use >&2; exit 1');
  expect(run()).toMatchObject({
    stderr: expect.stringContaining('createRuntime hook #0 (/bin/sh): exit code 1: of no use'),
    stdout: '',
    status: 126,
  });
  expect(left()).toEqual([]);
});

test("a container in the host's network is refused, and a program that cannot be executed is named", () => {
  const host = podman(['run', '--rm', '--network', 'host', '--cgroup-parent', `/${CGROUP}`, IMAGE, 'true']);
  expect(host.stderr).toContain("tsvm runs no container in the host's network: use runc for this one");
  expect(host.status).toBe(126);
  const absent = podman(['run', '--rm', ...NONE, IMAGE, 'nosuch']);
  expect(absent.stderr).toContain('exec: "nosuch": executable file not found in $PATH');
  expect(absent.status).toBe(127);
  const folderRun = podman(['run', '--rm', ...NONE, IMAGE, '/etc']);
  expect(folderRun.stderr).toContain('permission denied');
  expect(folderRun.status).toBe(126);
  expect(left()).toEqual([]);
});

test.each(['stub', 'keeper.pid'])('after the death of the %s, the engine is told, and nothing is left', (victim) => {
  const name = `victim-${victim}`;
  const run = podman(['run', '-d', '--name', name, ...NONE, IMAGE, 'sleep', '1000']);
  expect(run.status).toBe(0);
  const [pid = ''] = readFileSync(join('/run/tsvm-oci', run.stdout.trim(), victim), 'utf8').split(' ');
  process.kill(Number(pid), 'SIGKILL');
  expect(podman(['wait', name]).stdout).toBe(victim === 'stub' ? '137\n' : '255\n');
  expect(podman(['rm', '--force', name])).toMatchObject({ status: 0 });
  expect(left()).toEqual([]);
});

const KILLS = Number(process.env.TSVM_KILLS ?? 6);
const SEED = process.env.TSVM_KILLS_SEED ?? '1';

/** Processes of containers, and of the runtime's commands, by the cgroups that they are in. */
function processesInCgroups(): number[] {
  const below = cgroupsNamed(CGROUP).filter((path) => !path.endsWith(`/${CGROUP}`));
  const pids = below.flatMap((path) => readText(join(path, 'cgroup.procs')).split('\n').filter(Boolean).map(Number));
  return [...new Set(pids)].sort((a, b) => a - b);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/**
 * What podman before 4.4 says of a container that ends between its look at the process and its kill, of
 * any runtime, runc's too. Told that the container has stopped, it takes process 0 for the container's,
 * which is always there, and gives up (libpod's StopContainer; its issue 16142). The container stays.
 */
const ENDED_BEFORE_KILL = new RegExp(
  '^container not running\\nError: cannot remove container ([0-9a-f]{64}) as it could not be stopped: ' +
    'sending SIGKILL to container \\1: container state improper: stopped\\n$',
);

/** Removes a container by one call, or by two if it has ended in the midst of the first. */
function removeByForce(name: string) {
  const remove = () => podman(['rm', '--force', '--time', '0', name]);
  const removed = remove();
  return removed.status === 2 && ENDED_BEFORE_KILL.test(removed.stderr) ? remove() : removed;
}

// podman calls no runtime for a container whose monitor is killed before it has told podman of it.
test(`podman removes a container of which a process was killed at random, ${KILLS} times`, async () => {
  for (let round = 0; round < KILLS; round++) {
    const dice = createHash('sha256').update(`${SEED}.${round}`).digest();
    const name = `random-${round}`;
    const run = spawn('podman', [...global(), 'run', '-d', '--name', name, ...NONE, IMAGE, 'sleep', '1000'], {
      env: environment,
      stdio: 'ignore',
    });
    const ended = once(run, 'exit');
    await setTimeout(dice.readUInt16LE() % 1500);
    const processes = processesInCgroups().filter((pid) => !commandLine(pid).startsWith('/usr/bin/conmon'));
    const victim = processes[dice.readUInt16LE(2) % Math.max(processes.length, 1)];
    const what = `round ${round} of seed ${SEED}: ${victim && commandLine(victim)}`;
    if (victim !== undefined) kill(victim);
    await ended;
    const removed = removeByForce(name);
    expect(removed, `${what}: ${removed.stderr}`).toMatchObject({ status: 0 });
    await expect.poll(left, { message: what }).toEqual([]);
  }
});

test('the command answers without a container and without an environment', () => {
  const call = (...args: string[]) => spawnSync(RUNTIME, args, { encoding: 'utf8', env: {} });
  const root = join(folder, 'state');
  expect(call('--root', root, 'state', 'x')).toMatchObject({ status: 1, stderr: 'container does not exist\n' });
  expect(call(`--root=${root}`, 'delete', 'x')).toMatchObject({ status: 1, stderr: 'container does not exist\n' });
  expect(call('--root', root, 'delete', '--force', 'x')).toMatchObject({ status: 0, stdout: '', stderr: '' });
  expect(call('--root', root, 'state', '../x').stderr).toBe('invalid container ID format: ../x\n');
  expect(JSON.parse(call('features').stdout).linux.namespaces).toContain('network');
  const log = join(folder, 'log');
  expect(call('--root', root, '--log', log, '--log-format', 'json', 'create', '--bundle', folder, 'x').status).toBe(1);
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'error', msg: expect.stringContaining('config.json') });
  expect(readdirSync(root)).toEqual([]);
});
