// Proves what the OCI runtime specification 1.1 (runtime.md) demands of each operation in each state, by the
// command alone. A container's network namespace is a new one.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { CAPABILITIES } from '../../sandbox/agent/protocol.js';
import { ACTIONS, OPERATORS } from '../../seccomp/profile.js';
import { populate } from '../unit/guest-agent/container-image.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));

let folder: string;
let root: string;
let count = 0;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-oci-life-');
  root = join(folder, 'state');
  mkdirSync(join(folder, 'rootfs'));
  populate(join(folder, 'rootfs'));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Answer {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** What stays keeps its streams, so they are files. */
function call(...args: string[]): Answer {
  const paths = [join(folder, `out-${count}`), join(folder, `err-${count++}`)];
  const files = paths.map((path) => openSync(path, 'w'));
  const { status } = spawnSync(RUNTIME, ['--root', root, ...args], { stdio: ['ignore', ...files], env: {} });
  for (const file of files) closeSync(file);
  const [stdout = '', stderr = ''] = paths.map((path) => readFileSync(path, 'utf8'));
  return { status, stdout, stderr };
}

const failure = (stderr: string) => ({ status: 1, stdout: '', stderr: `${stderr}\n` });
const DONE = { status: 0, stdout: '', stderr: '' };
const NONE = failure('container does not exist');

/** Writes a bundle. Returns its path. */
function bundle(name: string, script: string | undefined, more: object = {}): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  const config = {
    ociVersion: '1.1.0',
    annotations: { 'org.example.a': 'b', ofNobody: '' },
    root: { path: '../rootfs' },
    ...(script !== undefined && {
      process: {
        user: { uid: 0, gid: 0 },
        args: ['sh', '-c', script],
        env: ['PATH=/bin'],
        cwd: '/',
        capabilities: { bounding: ['CAP_CHOWN', 'CAP_OF_TOMORROW'] },
      },
    }),
    linux: { namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
    ofTomorrow: 1,
    ...more,
  };
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  return path;
}

function make(id: string, path: string): void {
  onTestFinished(() => {
    call('delete', '--force', id);
    expect(readdirSync(root)).toEqual([]);
  });
  expect(call('create', '--bundle', path, id)).toEqual(DONE);
}

const state = (id: string) => JSON.parse(call('state', id).stdout);
const has = (name: string) => readdirSync(join(folder, 'rootfs')).includes(name);

test('each operation on each state is what the specification says', async () => {
  const path = bundle(
    'life',
    'trap "exit 3" TERM; cat /sys/fs/cgroup/pids.max >/limit; echo ran >/ran; while :; do sleep 0.1; done',
  );
  make('life', path);
  // Its properties are applied, and its process is not.
  const created = state('life');
  expect(created).toEqual({
    ...{ ociVersion: '1.1.0', id: 'life', bundle: path, annotations: { 'org.example.a': 'b', ofNobody: '' } },
    ...{ status: 'created', pid: expect.any(Number) },
  });
  expect(has('ran')).toBe(false);
  expect(call('create', '--bundle', path, 'life')).toEqual(failure('container with given ID already exists'));
  expect(call('delete', 'life')).toEqual(failure('cannot delete container life that is not stopped'));
  expect(call('pause', 'life')).toEqual(failure('container not running'));
  expect(call('update', '--pids-limit', '33', 'life')).toEqual(DONE);
  expect(state('life')).toEqual(created);
  // A later change of the configuration has no effect.
  bundle('life', 'touch /changed');

  expect(call('start', 'life')).toEqual(DONE);
  const running = { ...created, status: 'running' };
  expect(state('life')).toEqual(running);
  await expect.poll(() => has('ran')).toBe(true);
  expect(has('changed')).toBe(false);
  expect(readFileSync(join(folder, 'rootfs/limit'), 'utf8')).toBe('33\n');
  expect(call('start', 'life')).toEqual(failure('cannot start an already running container'));
  expect(call('delete', 'life')).toEqual(failure('cannot delete container life that is not stopped'));
  expect(call('create', '--bundle', path, 'life')).toEqual(failure('container with given ID already exists'));
  expect(state('life')).toEqual(running);

  expect(call('kill', 'life', 'TERM')).toEqual(DONE);
  const { pid: _, ...stopped } = { ...created, status: 'stopped' };
  await expect.poll(() => state('life')).toEqual(stopped);
  expect(call('kill', 'life', 'KILL')).toEqual(failure('container not running'));
  expect(call('update', '--memory', '1g', 'life')).toEqual(failure('container not running'));
  expect(call('start', 'life')).toEqual(failure('cannot start a container that has stopped'));
  expect(call('create', '--bundle', path, 'life')).toEqual(failure('container with given ID already exists'));
  expect(state('life')).toEqual(stopped);

  expect(call('delete', 'life')).toEqual(DONE);
  for (const operation of ['state', 'start', 'kill', 'delete']) expect(call(operation, 'life')).toEqual(NONE);
  // What the container did not make is left, and its id is free.
  expect(readdirSync(path)).toEqual(['config.json']);
  expect(has('bin')).toBe(true);
  make('life', path);
  expect(state('life').status).toBe('created');
});

test('a signal ends a created container, whose program never runs', async () => {
  make('early', bundle('early', 'touch /early'));
  expect(call('kill', 'early', '15')).toEqual(DONE);
  await expect.poll(() => state('early').status).toBe('stopped');
  expect(call('start', 'early')).toEqual(failure('cannot start a container that has stopped'));
  expect(call('delete', 'early')).toEqual(DONE);
  expect(has('early')).toBe(false);
});

test('a configuration without a process makes a container that cannot be started', () => {
  make('empty', bundle('empty', undefined));
  const created = state('empty');
  expect(call('start', 'empty')).toEqual(failure('the configuration has no process'));
  expect(state('empty')).toEqual(created);
});

test('a filter of system calls and kernel parameters are those of the configuration', async () => {
  const script = 'mkdir /refused 2>/filter; cat /proc/sys/net/ipv4/ip_default_ttl >/ttl; touch /end; sleep 1000';
  const syscalls = [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 }];
  make(
    'filter',
    bundle('filter', script, {
      linux: {
        namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
        sysctl: { 'net.ipv4.ip_default_ttl': '33' },
        seccomp: { defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_X86_64'], syscalls },
      },
    }),
  );
  expect(call('start', 'filter')).toEqual(DONE);
  await expect.poll(() => has('end')).toBe(true);
  expect(readFileSync(join(folder, 'rootfs/filter'), 'utf8')).toContain('No space left on device');
  expect(readFileSync(join(folder, 'rootfs/ttl'), 'utf8')).toBe('33\n');
});

test('events tell of a container that the kernel of the guest kills for lack of memory, and end with it', async () => {
  const resources = { memory: { limit: 64 * 2 ** 20 } };
  const namespaces = ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type }));
  const script = 'while ! test -e /go; do sleep 0.1; done; exec tail /dev/zero';
  make('greedy', bundle('greedy', script, { linux: { namespaces, resources } }));
  expect(call('events', 'greedy')).toEqual(failure('container not running'));
  expect(call('start', 'greedy')).toEqual(DONE);
  const events = spawn(RUNTIME, ['--root', root, 'events', 'greedy'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: events.stdout });
  const told: { type: string; id: string; data?: { memory: { usage: { limit: number } } } }[] = [];
  for await (const line of lines) {
    told.push(JSON.parse(line));
    writeFileSync(join(folder, 'rootfs/go'), '');
  }
  expect(told[0]?.data?.memory.usage.limit).toBe(64 * 2 ** 20);
  expect(told.at(-1)).toEqual({ type: 'oom', id: 'greedy' });
  expect(told.filter(({ type }) => type === 'oom')).toHaveLength(1);
  await expect.poll(() => state('greedy').status).toBe('stopped');
});

test('updates at the same time, and beside the start, are made one after the other', async () => {
  make('updated', bundle('updated', 'sleep 1000'));
  const later = (...args: string[]) => ended(spawn(RUNTIME, ['--root', root, ...args, 'updated'], { env: {} }));
  // Each changes a limit of its own, and gives the others again.
  const update = (round: number) => [
    later('update', '--pids-limit', `${100 + round}`),
    later('update', '--memory', `${100 + round}m`),
    later('update', '--cpu-quota', `${50_000 + round}`),
  ];
  const script = 'cd /sys/fs/cgroup; cat pids.max memory.max cpu.max';
  const limits = () => call('exec', 'updated', 'sh', '-c', script).stdout;
  const expected = (round: number) => `${100 + round}\n${(100 + round) * 2 ** 20}\n${50_000 + round} 100000\n`;
  for (const answer of await Promise.all([later('start'), ...update(0)])) expect(answer).toEqual(DONE);
  expect(limits()).toBe(expected(0));
  for (let round = 1; round <= 5; round++) {
    for (const answer of await Promise.all(update(round))) expect(answer).toEqual(DONE);
    expect(limits()).toBe(expected(round));
  }
});

test('a container grows as far as its machine was made for', () => {
  const namespaces = ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type }));
  const resources = { memory: { limit: 64 * 2 ** 20 } };
  const annotations = { 'dev.tsvm.memory': '256m' };
  make('grows', bundle('grows', 'sleep 1000', { annotations, linux: { namespaces, resources } }));
  expect(call('start', 'grows')).toEqual(DONE);
  // The last line is all of it.
  const hold = () => call('exec', 'grows', 'sh', '-c', 'head -c 150000000 /dev/zero | tail -n 1 | wc -c').stdout;
  expect(hold()).toBe('0\n');
  expect(call('update', '--memory', '256m', 'grows')).toEqual(DONE);
  expect(hold()).toBe('150000000\n');
  const above = 'a memory limit of 269484032 bytes is above what the machine of the container has: 268435456';
  expect(call('update', '--memory', '257m', 'grows')).toEqual(
    failure(`update: ${above}; the annotation dev.tsvm.memory sizes it`),
  );
});

/** Resolves to the answer of a call that nothing keeps the streams of. */
async function ended(child: ChildProcess): Promise<Answer> {
  const read = async (stream: Readable | null) => (stream ? await text(stream) : '');
  const [[status], stdout, stderr] = await Promise.all([once(child, 'exit'), read(child.stdout), read(child.stderr)]);
  return { status, stdout, stderr };
}

describe('hooks', () => {
  const notes = () => join(folder, 'notes');
  /** A hook that notes its name, where it runs, and the state that it is given. */
  const hook = (name: string, then = '') => ({
    path: '/bin/sh',
    args: ['sh', '-c', `echo "${name} $(uname -n) $PWD $WORD $(cat)" >>${notes()}; ${then}`],
    env: ['WORD=w'],
  });
  /** Notes in the container. */
  const inside = (name: string, then = '') => ({
    path: '/bin/sh',
    args: ['sh', '-c', `PATH=/bin; echo "${name} $(uname -n) $PWD $WORD $(cat)" >>/notes; ${then}`],
    env: ['WORD=w'],
  });
  const noted = () =>
    readFileSync(notes(), 'utf8')
      .trim()
      .split('\n')
      .map((line) => {
        const [, name, host, cwd, word, state = ''] = /^(\S+) (\S+) (\S+) (\S+) (.*)$/.exec(line) ?? [];
        return { name, isContainers: host === 'of-hooks', cwd, word, state: JSON.parse(state) };
      });
  beforeEach(() => rmSync(notes(), { force: true }));

  test('run at their points, in their namespaces, with the state of the container', async () => {
    // The program is there once the hooks have run.
    const made = join(folder, 'rootfs/made');
    const makes = `printf '#!/bin/sh\\n touch /ran-made; exec sleep 1000' >${made}; chmod +x ${made}`;
    const path = bundle('hooked', undefined, {
      hostname: 'of-hooks',
      process: { user: { uid: 0, gid: 0 }, args: ['/made'], cwd: '/' },
      hooks: {
        poststop: [hook('poststop')],
        poststart: [hook('poststart')],
        createContainer: [hook('createContainer')],
        startContainer: [inside('startContainer')],
        createRuntime: [hook('createRuntime'), hook('second', makes)],
        prestart: [hook('prestart')],
        ofTomorrow: [],
      },
    });
    make('hooked', path);
    const { pid, ...state } = JSON.parse(call('state', 'hooked').stdout);
    const creating = { ...state, status: 'creating', pid };
    const runtime = { isContainers: false, cwd: path, word: 'w' };
    const inContainer = { isContainers: true, cwd: join(folder, 'rootfs'), word: 'w' };
    const atCreate = [
      { name: 'prestart', ...runtime, state: creating },
      { name: 'createRuntime', ...runtime, state: creating },
      { name: 'second', ...runtime, state: creating },
      { name: 'createContainer', ...inContainer, state: { ...creating, pid: 1 } },
    ];
    expect(noted()).toEqual(atCreate);
    expect(call('start', 'hooked')).toEqual(DONE);
    const atStart = [...atCreate, { name: 'poststart', ...runtime, state: { ...state, status: 'running', pid } }];
    expect(noted()).toEqual(atStart);
    const [, name, host, cwd, word, given = ''] =
      /^(\S+) (\S+) (\S+) (\S+) (.*)\n$/.exec(readFileSync(join(folder, 'rootfs/notes'), 'utf8')) ?? [];
    expect({ name, host, cwd, word }).toEqual({ name: 'startContainer', host: 'of-hooks', cwd: '/', word: 'w' });
    expect(JSON.parse(given)).toEqual({ ...state, status: 'created', pid: 1 });
    await expect.poll(() => has('ran-made')).toBe(true);
    expect(call('delete', '--force', 'hooked')).toEqual(DONE);
    expect(noted()).toEqual([...atStart, { name: 'poststop', ...runtime, state: { ...state, status: 'stopped' } }]);
  });

  test.each(['prestart', 'createRuntime', 'createContainer'])('of %s that fail undo the creation', (name) => {
    const path = bundle('failing', 'true', {
      hooks: { [name]: [hook('bad', 'echo why >&2; exit 3'), hook('never')], poststop: [hook('poststop')] },
    });
    expect(call('create', '--bundle', path, 'failing')).toEqual(failure(`${name} hook #0 (/bin/sh): exit code 3: why`));
    expect(call('state', 'failing')).toEqual(NONE);
    expect(noted().map((note) => note.name)).toEqual(['bad', 'poststop']);
  });

  test.each<[string, { does?: string; path?: string; timeout?: number }, string]>([
    ['fails', { does: 'echo why >&2; exit 3' }, 'exit code 3: why'],
    ['is late', { does: 'sleep 1000', timeout: 1 }, 'timed out after 1 s'],
    ['is missing', { path: '/nowhere' }, 'exit code 127: no such file or directory'],
  ])('of startContainer: one that %s is the failure of the start', async (_, { does, ...more }, text) => {
    const hooks = {
      startContainer: [{ ...inside('bad', does), ...more }, inside('never')],
      poststop: [hook('poststop')],
    };
    rmSync(join(folder, 'rootfs/notes'), { force: true });
    make('unstarted', bundle('unstarted', 'touch /ran-unstarted', { hooks }));
    const path = more.path ?? '/bin/sh';
    expect(call('start', 'unstarted')).toEqual(failure(`startContainer hook (${path}): ${text}`));
    await expect.poll(() => state('unstarted').status).toBe('stopped');
    expect(has('ran-unstarted')).toBe(false);
    expect(call('delete', 'unstarted')).toEqual(DONE);
    expect(noted().map((note) => note.name)).toEqual(['poststop']);
  });

  test('that come later are told as warnings, even where the keeper is dead', () => {
    const later = { poststart: [hook('poststart', 'exit 4'), hook('next')], poststop: [hook('poststop', 'exit 5')] };
    make('warned', bundle('warned', 'sleep 1000', { hooks: later }));
    expect(call('start', 'warned')).toEqual({ ...DONE, stderr: 'poststart hook #0 (/bin/sh): exit code 4\n' });
    expect(state('warned').status).toBe('running');
    const [keeper = ''] = readFileSync(join(root, 'warned/keeper.pid'), 'utf8').split(' ');
    process.kill(Number(keeper), 'SIGKILL');
    expect(call('delete', '--force', 'warned')).toEqual({
      ...DONE,
      stderr: 'poststop hook #0 (/bin/sh): exit code 5\n',
    });
    expect(noted().map((note) => note.name)).toEqual(['poststart', 'next', 'poststop']);
  });

  test('that run when the command is killed are killed with it', async () => {
    const path = bundle('slow', 'true', { hooks: { createRuntime: [hook('slow', 'exec sleep 314159')] } });
    const creating = spawn(RUNTIME, ['--root', root, 'create', '--bundle', path, 'slow'], { stdio: 'ignore', env: {} });
    const sleeps = () => spawnSync('pgrep', ['-f', '^sleep 314159$']).status === 0;
    await expect.poll(sleeps).toBe(true);
    creating.kill('SIGKILL');
    await expect.poll(sleeps).toBe(false);
    expect(call('delete', '--force', 'slow')).toEqual(DONE);
    expect(readdirSync(root)).toEqual([]);
  });

  test('of a creation that is given up beside a deletion run once', async () => {
    const hooks = {
      createRuntime: [hook('waiting', 'exec sleep 271828')],
      poststop: [hook('poststop', 'sleep 1'), hook('last')],
    };
    const path = bundle('raced', 'true', { hooks });
    const creating = ended(spawn(RUNTIME, ['--root', root, 'create', '--bundle', path, 'raced'], { env: {} }));
    await expect.poll(() => spawnSync('pgrep', ['-f', '^sleep 271828$']).status).toBe(0);
    const deletions = [1, 2].map(() =>
      ended(spawn(RUNTIME, ['--root', root, 'delete', '--force', 'raced'], { env: {} })),
    );
    for (const deletion of deletions) expect(await deletion).toEqual(DONE);
    expect((await creating).status).toBe(1);
    expect(noted().map((note) => note.name)).toEqual(['waiting', 'poststop', 'last']);
    expect(readdirSync(root)).toEqual([]);
  });
});

describe('without a container', () => {
  test.each(['state', 'start', 'kill', 'delete', 'create', 'pause', 'resume', 'ps', 'update', 'events'])(
    '%s needs an id',
    (operation) => {
      const { status, stderr } = call(operation);
      expect({ status, stderr }).toEqual({ status: 1, stderr: 'invalid container ID format: \n' });
    },
  );

  test.each(['state', 'start', 'kill', 'delete', 'pause', 'resume', 'ps', 'update', 'events'])(
    '%s of an unknown id fails',
    (operation) => {
      expect(call(operation, 'unknown')).toEqual(NONE);
    },
  );

  const rootfs = (path: string) => ({ root: { path } });
  test.each([
    ['no version', { ociVersion: 'one' }, 'config.json: ociVersion: is not 1.x'],
    ['a root that is not there', rootfs('/nowhere/at/all'), 'no such file or directory'],
    ['a root that is a file', rootfs('config.json'), 'config.json: root.path: no folder'],
    ['a property that cannot be applied', { hostname: 'x'.repeat(65) }, 'config.json: hostname: '],
    [
      'a file in the place of a namespace',
      { linux: { namespaces: wrongNetwork('/dev/null') } },
      'no network namespace',
    ],
    [
      'a namespace of another type',
      { linux: { namespaces: wrongNetwork() } },
      '/proc/self/ns/uts: no network namespace',
    ],
  ])('create with %s makes nothing', (_, more, message) => {
    const path = bundle('wrong', 'true', more);
    const made = call('create', '--bundle', path, 'wrong');
    expect(made).toMatchObject({ status: 1, stdout: '', stderr: expect.stringContaining(message) });
    expect(made.stderr.trim().split('\n')).toHaveLength(1);
    expect(call('state', 'wrong')).toEqual(NONE);
    expect(readdirSync(path)).toEqual(['config.json']);
  });

  test('create says why it enters no namespace where it cannot see which is that of the host', async () => {
    const without = ['--bounding-set', '-sys_ptrace'];
    const other = spawn('setpriv', [...without, 'unshare', '--net', 'sh', '-c', 'echo; exec sleep 1000']);
    onTestFinished(() => void other.kill());
    await once(other.stdout, 'data');
    const path = bundle('hidden', 'true', { linux: { namespaces: wrongNetwork(`/proc/${other.pid}/ns/net`) } });
    const words = [...without, RUNTIME, '--root', root, 'create', '--bundle', path, 'hidden'];
    const made = spawnSync('setpriv', words, { encoding: 'utf8' });
    expect(made).toMatchObject({
      ...{ status: 1, stdout: '' },
      stderr: "tsvm cannot tell the network namespace from the host's own: /proc/1/ns/net: permission denied\n",
    });
    expect(call('state', 'hidden')).toEqual(NONE);
  });

  test('create needs a bundle, and one that is JSON', () => {
    const path = bundle('text', 'true');
    writeFileSync(join(path, 'config.json'), '{');
    expect(call('create', '--bundle', path, 'text').stderr).toMatch(/^config\.json: /);
    expect(call('create', '--bundle', join(folder, 'absent'), 'text').stderr).toMatch(/^bundle .*: No such file/);
    expect(call('state', 'text')).toEqual(NONE);
  });
});

function wrongNetwork(path = '/proc/self/ns/uts'): object[] {
  const others = ['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type }));
  return [...others, { type: 'network', path }];
}

test('what features tells is what there is', () => {
  const { linux, mountOptions, hooks, ...versions } = JSON.parse(call('features').stdout);
  expect(versions).toMatchObject({ ociVersionMin: '1.0.0', ociVersionMax: '1.1.0' });
  expect(hooks).toEqual(['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop']);
  expect(mountOptions).toEqual([...mountOptions].sort());
  expect(linux).toMatchObject({
    namespaces: ['cgroup', 'ipc', 'mount', 'network', 'pid', 'uts'],
    capabilities: CAPABILITIES.map((name) => `CAP_${name}`),
    seccomp: { enabled: true, actions: [...ACTIONS], operators: [...OPERATORS] },
    apparmor: { enabled: false },
    selinux: { enabled: false },
    intelRdt: { enabled: false },
  });
});
