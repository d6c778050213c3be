// Proves that containers of one network namespace share a machine, and nothing that is not a pod's:
// each has its own root, processes and end. By the command alone, in namespaces of the test.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
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
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { EngineNamespaces } from './engine-namespaces.js';
import { CLIENT, populateWithPerl, SERVER } from './network-image.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
/** In each hierarchy of cgroups. */
const CGROUP = `tsvm-oci-pods-${process.pid}`;
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** Not the size of whole segments. */
const SIZE = 76_543;

let folder: string;
let root: string;
let count = 0;
let engine: EngineNamespaces;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-oci-pods-');
  chmodSync(folder, 0o711);
  root = join(folder, 'state');
  populateWithPerl(join(folder, 'image'));
  engine = new EngineNamespaces(['/run/netns', '/run/tsvm-oci'], 'sleep infinity');
});
afterAll(() => {
  engine[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
  const named = ['-depth', '-type', 'd', '-path', `*/${CGROUP}*`];
  execFileSync('find', ['/sys/fs/cgroup', ...named, '-exec', 'rmdir', '{}', '+']);
});

/** What stays keeps its streams, so they are files. */
function call(...args: string[]) {
  const [out = '', err = ''] = [join(folder, `out-${count}`), join(folder, `err-${count++}`)];
  const script = `exec "$@" </dev/null >${out} 2>${err}`;
  const { status } = engine.run(['sh', '-c', script, 'sh', RUNTIME, '--root', root, ...args]);
  return { status, stdout: readFileSync(out, 'utf8'), stderr: readFileSync(err, 'utf8') };
}

const DONE = { status: 0, stdout: '', stderr: '' };
const state = (id: string) => JSON.parse(call('state', id).stdout);
const execute = (id: string, ...args: string[]) => call('exec', id, ...args);
/** The process that keeps a container. */
const keeper = (id: string) => Number(readFileSync(join(root, id, 'keeper.pid'), 'utf8').split(' ')[0]);
/** Keepers: one for each machine. */
const keepers = () => engine.containers.filter((line) => line.includes('keeper.js'));

interface Made {
  /** Process id of the stub whose namespaces it joins. */
  pod?: number;
  /** Those that it joins beside the network. */
  joins?: readonly string[];
  /** Process id of the stub whose pid namespace it joins; absent: the pod's. */
  pids?: number;
  /** Paths of namespaces that it joins, by their types. */
  paths?: Record<string, string>;
  hostname?: string;
  cgroupsPath?: string;
}

/** Makes a container with a root of its own, which has its name in `/name`. */
function make(
  id: string,
  args: string[],
  { pod, joins = [], pids = pod, paths = {}, hostname, cgroupsPath }: Made = {},
) {
  const bundle = join(folder, id);
  cpSync(join(folder, 'image'), join(bundle, 'rootfs'), { recursive: true });
  mkdirSync(join(bundle, 'volume'));
  writeFileSync(join(bundle, 'rootfs/name'), id);
  writeFileSync(join(bundle, 'volume/of'), id);
  const shared: Record<string, string> = { network: 'net', ipc: 'ipc', uts: 'uts', pid: 'pid' };
  const namespaces = ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => {
    const isJoined = pod !== undefined && (type === 'network' || joins.includes(type));
    const path = isJoined ? `/proc/${type === 'pid' ? pids : pod}/ns/${shared[type]}` : paths[type];
    return path === undefined ? { type } : { type, path };
  });
  const config = {
    ociVersion: '1.1.0',
    annotations: { 'dev.tsvm.accel': 'uml' },
    ...(hostname !== undefined && { hostname }),
    root: { path: 'rootfs' },
    mounts: [{ destination: '/volume', type: 'bind', source: 'volume', options: ['rbind', 'ro'] }],
    process: { user: { uid: 0, gid: 0 }, args, env: ['PATH=/bin'], cwd: '/' },
    linux: { namespaces, ...(cgroupsPath !== undefined && { cgroupsPath }) },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  onTestFinished(() => {
    call('delete', '--force', id);
    rmSync(bundle, { recursive: true, force: true });
  });
  return call('create', '--bundle', bundle, id);
}

const WAIT = ['sh', '-c', 'trap "exit 5" TERM; echo >/up; while :; do sleep 0.1; done'];

/** Waits until a container of `WAIT` hears signals. */
async function hears(id: string): Promise<void> {
  await expect.poll(() => existsSync(join(folder, id, 'rootfs/up'))).toBe(true);
}

describe('containers of one network namespace', () => {
  test('are in one machine, each with its root and processes, and share what they join', async () => {
    const serve = ['perl', '-e', SERVER, '8080', String(SIZE)];
    expect(make('first', serve, { hostname: 'pod' })).toEqual(DONE);
    const { pid: pod } = state('first');
    // They are made before the first one is started, or after that, and start in any order.
    expect(make('second', WAIT, { pod, joins: ['ipc', 'uts'], hostname: 'ignored' })).toEqual(DONE);
    expect(call('start', 'second')).toEqual(DONE);
    expect(state('first').status).toBe('created');
    expect(make('third', WAIT, { pod, hostname: 'own' })).toEqual(DONE);
    for (const id of ['third', 'first']) expect(call('start', id)).toEqual(DONE);
    expect(state('second')).toMatchObject({ status: 'running', id: 'second', bundle: join(folder, 'second') });
    expect(new Set(['first', 'second', 'third'].map(keeper)).size).toBe(1);
    expect(keepers()).toHaveLength(1);

    const look = (id: string) =>
      execute(id, 'sh', '-c', `cat ${BOOT_ID} /name /volume/of; hostname 2>/dev/null || uname -n`);
    const [first, second, third] = ['first', 'second', 'third'].map((id) => look(id).stdout.split('\n'));
    expect(first).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/), 'firstfirstpod', '']);
    expect(second).toEqual([first?.[0], 'secondsecondpod', '']);
    expect(third).toEqual([first?.[0], 'thirdthirdown', '']);
    const namespaces = (id: string) =>
      execute(id, 'sh', '-c', 'for each in ipc uts net pid mnt; do readlink /proc/self/ns/$each; done').stdout.split(
        '\n',
      );
    const [a = [], b = [], c = []] = ['first', 'second', 'third'].map(namespaces);
    expect(b.slice(0, 3)).toEqual(a.slice(0, 3));
    expect(c[2]).toBe(a[2]);
    for (const at of [3, 4]) expect(new Set([a[at], b[at], c[at]]).size).toBe(3);
    for (const at of [0, 1]) expect(c[at]).not.toBe(a[at]);
    // Once the server listens.
    let answer = execute('second', 'true');
    const ask = () => {
      answer = execute('second', 'perl', '-e', CLIENT, '127.0.0.1:8080');
      return answer;
    };
    await expect.poll(ask).toMatchObject({ status: 0, stderr: '' });
    expect(answer.stdout).toHaveLength(SIZE);
    expect(execute('third', 'sh', '-c', 'touch /volume/x').stderr).toContain('Read-only file system');
    // What is in the ipc namespace of the first one has its /dev/shm.
    expect(execute('first', 'sh', '-c', 'echo shared >/dev/shm/x').status).toBe(0);
    expect(execute('second', 'cat', '/dev/shm/x').stdout).toBe('shared\n');
    expect(execute('third', 'ls', '/dev/shm').stdout).toBe('');

    // A pause is one container's.
    expect(call('pause', 'first')).toEqual(DONE);
    expect(state('first').status).toBe('paused');
    expect(execute('first', 'true').stderr).toBe('cannot exec in a paused container\n');
    expect(call('pause', 'first').stderr).toBe('container not running\n');
    expect(look('second').stdout.split('\n')).toEqual(second);
    expect(make('late', ['sh', '-c', 'exit 3'], { pod })).toEqual(DONE);
    expect(call('start', 'late')).toEqual(DONE);
    await expect.poll(() => state('late').status).toBe('stopped');
    expect(call('delete', 'late')).toEqual(DONE);
    expect(call('resume', 'first')).toEqual(DONE);
    expect(look('first').stdout.split('\n')).toEqual(first);

    // Each ends alone, once it may, and its files are the host's again.
    await hears('second');
    expect(call('pause', 'second')).toEqual(DONE);
    expect(call('kill', 'second', 'TERM')).toEqual(DONE);
    expect(state('second').status).toBe('paused');
    expect(call('resume', 'second')).toEqual(DONE);
    await expect.poll(() => state('second').status).toBe('stopped');
    expect(call('delete', 'second')).toEqual(DONE);
    expect(existsSync(join(root, 'second'))).toBe(false);
    expect(look('third').stdout).toContain('thirdthirdown');
    // Its successor is in the same machine.
    rmSync(join(folder, 'second'), { recursive: true });
    expect(make('second', ['sh', '-c', 'exit 3'], { pod })).toEqual(DONE);
    expect(call('start', 'second')).toEqual(DONE);
    await expect.poll(() => state('second').status).toBe('stopped');
    expect(call('delete', 'second')).toEqual(DONE);
    // The others go on without the first one, and its files are the host's again.
    const kept = keeper('third');
    expect(call('delete', '--force', 'first')).toEqual(DONE);
    expect(existsSync(join(root, 'first'))).toBe(false);
    expect(look('third').stdout).toBe(`${first?.[0]}\nthirdthirdown\n`);
    expect(make('fourth', WAIT, { pod: state('third').pid })).toEqual(DONE);
    expect(call('start', 'fourth')).toEqual(DONE);
    expect(look('fourth').stdout).toBe(`${first?.[0]}\nfourthfourthtsvm\n`);
    expect([keeper('third'), keeper('fourth')]).toEqual([kept, kept]);
    // The machine ends with the last one that runs.
    for (const id of ['fourth', 'third']) {
      expect(keepers()).toHaveLength(1);
      await hears(id);
      expect(call('kill', id, 'TERM')).toEqual(DONE);
      await expect.poll(() => state(id).status).toBe('stopped');
    }
    await expect.poll(() => engine.containers.filter((line) => !line.includes('keeper.js'))).toEqual([]);
    expect(execute('third', 'true').stderr).toContain('container not running');
    for (const id of ['third', 'fourth']) expect(call('delete', id)).toEqual(DONE);
    expect(readdirSync(root)).toEqual([]);
    await expect.poll(() => engine.containers).toEqual([]);
  });

  test('a container is in the pid namespace of another one that runs, and ends alone or with that', async () => {
    expect(make('first', WAIT)).toEqual(DONE);
    const { pid: pod } = state('first');
    expect(make('target', WAIT, { pod })).toEqual(DONE);
    for (const id of ['first', 'target']) expect(call('start', id)).toEqual(DONE);
    const pids = state('target').pid;
    // It ends before what it leaves.
    const leaves = 'sleep 1234 & trap "exit 5" TERM; while :; do sleep 0.1; done';
    for (const id of ['joiner', 'other']) {
      expect(make(id, ['sh', '-c', leaves], { pod, joins: ['pid'], pids })).toEqual(DONE);
      expect(call('start', id)).toEqual(DONE);
    }
    // What joins one that has joined is in the same.
    expect(make('third', WAIT, { pod, joins: ['pid'], pids: state('joiner').pid })).toEqual(DONE);
    expect(call('start', 'third')).toEqual(DONE);
    const namespace = (id: string) => execute(id, 'readlink', '/proc/self/ns/pid').stdout;
    const members = ['target', 'joiner', 'other', 'third'];
    expect(new Set(members.map(namespace)).size).toBe(1);
    expect(namespace('first')).not.toBe(namespace('target'));
    /** Sleeps that nothing but an end ends, as a container sees them. */
    const sleeps = (id: string) =>
      execute(id, 'sh', '-c', 'for each in /proc/[0-9]*; do tr "\\0" " " <$each/cmdline 2>/dev/null; echo; done')
        .stdout.split('\n')
        .filter((line) => line.startsWith('sleep 1234')).length;
    await expect.poll(() => members.map(sleeps)).toEqual([2, 2, 2, 2]);
    expect(sleeps('first')).toBe(0);
    expect(new Set(members.map((id) => execute(id, 'cat', '/name').stdout)).size).toBe(4);
    // Each ends alone, with all that it has started.
    expect(call('kill', 'joiner', 'TERM')).toEqual(DONE);
    await expect.poll(() => state('joiner').status).toBe('stopped');
    expect(sleeps('target')).toBe(1);
    expect(call('delete', 'joiner')).toEqual(DONE);
    // One of them ends process 1 of the namespace, and so all of them.
    await hears('target');
    // The command itself may end with them before it has.
    expect([0, 137]).toContain(execute('third', 'sh', '-c', 'kill -TERM 1').status);
    for (const id of ['target', 'other', 'third']) await expect.poll(() => state(id).status).toBe('stopped');
    expect(execute('first', 'cat', '/name').stdout).toBe('first');
    for (const id of ['third', 'other', 'target', 'first']) expect(call('delete', '--force', id)).toEqual(DONE);
    expect(readdirSync(root)).toEqual([]);
    await expect.poll(() => engine.containers).toEqual([]);
  });

  test('are in one machine if the engine keeps the namespaces by files, and none of them was first', async () => {
    const paths = { network: '/run/netns/net', ipc: '/run/netns/ipc', uts: '/run/netns/uts' };
    // As CRI-O does it.
    const pin = 'touch /run/netns/net /run/netns/ipc /run/netns/uts; mount --make-private /run/netns';
    const kept = '--net=/run/netns/net --ipc=/run/netns/ipc --uts=/run/netns/uts';
    expect(engine.run(['sh', '-c', `${pin}; exec unshare ${kept} ip link set lo up`])).toMatchObject(DONE);
    onTestFinished(() => void engine.run(['sh', '-c', 'umount /run/netns/* && rm /run/netns/*']));
    const serve = ['perl', '-e', SERVER, '8080', String(SIZE)];
    expect(make('first', serve, { paths, hostname: 'pod' })).toEqual(DONE);
    expect(make('second', WAIT, { paths, hostname: 'pod' })).toEqual(DONE);
    for (const id of ['second', 'first']) expect(call('start', id)).toEqual(DONE);
    expect(keepers()).toHaveLength(1);
    const look = 'for each in ipc uts net; do readlink /proc/self/ns/$each; done; uname -n';
    const seen = ['first', 'second'].map((id) => execute(id, 'sh', '-c', `cat ${BOOT_ID}; ${look}`).stdout);
    expect(seen[0]).toMatch(/^[0-9a-f-]{36}\nipc:.*\nuts:.*\nnet:.*\npod\n$/);
    expect(seen[1]).toBe(seen[0]);
    expect(execute('first', 'sh', '-c', 'echo shared >/dev/shm/x').status).toBe(0);
    expect(execute('second', 'cat', '/dev/shm/x').stdout).toBe('shared\n');
    // The engine forwards a port by the namespace.
    const ask = () => engine.run(['nsenter', '--net=/run/netns/net', 'perl', '-e', CLIENT, '127.0.0.1:8080']);
    await expect.poll(() => ask().stdout.length).toBe(SIZE);
    // It is the pod's as long as one container runs. The next one has another machine.
    expect(call('delete', '--force', 'first')).toEqual(DONE);
    expect(execute('second', 'sh', '-c', `cat ${BOOT_ID}; ${look}`).stdout).toBe(seen[0]);
    await hears('second');
    expect(call('kill', 'second', 'TERM')).toEqual(DONE);
    await expect.poll(() => state('second').status).toBe('stopped');
    await expect.poll(() => engine.containers).toEqual([]);
    expect(ask()).toMatchObject({ stderr: expect.stringContaining('Connection refused') });
    expect(make('third', WAIT, { paths, hostname: 'pod' })).toEqual(DONE);
    expect(call('start', 'third')).toEqual(DONE);
    const [boot] = execute('third', 'cat', BOOT_ID).stdout.split('\n');
    expect(boot).toMatch(/^[0-9a-f-]{36}$/);
    expect(boot).not.toBe(seen[0]?.split('\n')[0]);
    for (const id of ['third', 'second']) expect(call('delete', '--force', id)).toEqual(DONE);
    // Kept by a file or not, the host's is refused.
    const bind = 'touch /run/netns/host; mount --bind /proc/1/ns/ipc /run/netns/host';
    expect(engine.run(['sh', '-c', bind])).toMatchObject(DONE);
    const host = make('host', WAIT, { paths: { ...paths, ipc: '/run/netns/host' } });
    expect(host).toMatchObject({ status: 1, stderr: "the host's ipc namespace is not supported\n" });
    await expect.poll(() => engine.containers).toEqual([]);
  });

  test('a relative cgroup is below that of who made the container, and the machine leaves what is deleted', async () => {
    expect(make('first', WAIT, { cgroupsPath: `${CGROUP}/first` })).toEqual(DONE);
    const { pid: pod } = state('first');
    expect(make('second', WAIT, { pod, cgroupsPath: `${CGROUP}/second` })).toEqual(DONE);
    for (const id of ['first', 'second']) expect(call('start', id)).toEqual(DONE);
    const paths = (pid: number | 'self') =>
      engine
        .run(['cat', `/proc/${pid}/cgroup`])
        .stdout.trim()
        .split('\n')
        .map((line) => line.split(':').slice(2).join(':'));
    const named = (name: string) => paths('self').map((own) => join(own, CGROUP, name));
    expect(paths(pod)).toEqual(named('first'));
    expect(paths(state('second').pid)).toEqual(named('second'));
    expect(paths(keeper('second'))).toEqual(named('first'));
    expect(call('delete', '--force', 'first')).toEqual(DONE);
    expect(paths(keeper('second'))).toEqual(named('second'));
    expect(execute('second', 'cat', '/name').stdout).toBe('second');
    const cgroups = (name: string) =>
      execFileSync('find', ['/sys/fs/cgroup', '-path', `*/${CGROUP}/${name}`], { encoding: 'utf8' });
    expect(cgroups('first')).toBe('');
    expect(call('delete', '--force', 'second')).toEqual(DONE);
    expect(cgroups('second')).toBe('');
    await expect.poll(() => engine.containers).toEqual([]);
  });

  test('what was made beside a first one that was never started ends with it', async () => {
    expect(make('first', WAIT)).toEqual(DONE);
    expect(make('second', WAIT, { pod: state('first').pid })).toEqual(DONE);
    expect(call('delete', '--force', 'first')).toEqual(DONE);
    await expect.poll(() => state('second').status).toBe('stopped');
    expect(call('delete', 'second')).toEqual(DONE);
    expect(readdirSync(root)).toEqual([]);
    await expect.poll(() => engine.containers).toEqual([]);
  });

  test('a container that is refused, or whose program is missing, harms no other', () => {
    expect(make('first', WAIT)).toEqual(DONE);
    expect(call('start', 'first')).toEqual(DONE);
    const { pid: pod } = state('first');
    expect(make('absent', ['nosuch'], { pod }).stderr).toContain('exec: "nosuch": executable file not found in $PATH');
    expect(make('other', WAIT, { pod: 1, joins: ['ipc'] }).status).toBe(1);
    expect(make('second', WAIT, { pod })).toEqual(DONE);
    expect(make('joins', WAIT, { pod: state('second').pid, joins: ['uts'] }).stderr).toContain(
      "joining another container's uts namespace is not supported",
    );
    // Of a container that has not started, and so has no processes, and of no container of the
    // machine.
    expect(make('third', WAIT, { pod, joins: ['pid'], pids: state('second').pid })).toEqual(DONE);
    expect(call('start', 'third').stderr).toBe('the container whose pid namespace it joins is not running\n');
    expect(call('delete', '--force', 'third')).toEqual(DONE);
    expect(make('outside', WAIT, { pod, joins: ['pid'], pids: 1 })).toEqual({
      ...DONE,
      status: 1,
      stderr: 'joining the pid namespace of what is not in the same machine is not supported\n',
    });
    expect(readdirSync(root).sort()).toEqual(['first', 'second']);
    expect(execute('first', 'cat', '/name').stdout).toBe('first');
  });

  test.each(['keeper', 'stub of the first', 'stub of the second'] as const)(
    'the death of the %s is told',
    async (killed) => {
      expect(make('first', WAIT)).toEqual(DONE);
      expect(call('start', 'first')).toEqual(DONE);
      const { pid: pod } = state('first');
      expect(make('second', WAIT, { pod })).toEqual(DONE);
      expect(call('start', 'second')).toEqual(DONE);
      const victim = { keeper: keeper('first'), 'stub of the first': pod, 'stub of the second': state('second').pid };
      engine.run(['kill', '-9', String(victim[killed])]);
      const ended = { keeper: ['first', 'second'], 'stub of the first': ['first'], 'stub of the second': ['second'] };
      for (const id of ended[killed]) await expect.poll(() => state(id).status).toBe('stopped');
      for (const id of ['first', 'second'].filter((each) => !ended[killed].includes(each))) {
        expect(execute(id, 'cat', '/name').stdout).toBe(id);
        expect(state(id).status).toBe('running');
      }
      for (const id of ['second', 'first']) expect(call('delete', '--force', id)).toEqual(DONE);
      expect(readdirSync(root)).toEqual([]);
      // The machine of a keeper that was killed ends by itself.
      await expect.poll(() => engine.containers).toEqual([]);
    },
  );
});
