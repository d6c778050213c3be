// Proves that podman's pods are machines: their containers share what a pod shares, and start, stop
// and end by themselves.
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { CLIENT, SERVER } from './network-image.js';
import { IMAGE, Podman } from './podman.js';

const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** Not the size of whole segments. */
const SIZE = 76_543;

let podman: Podman;

beforeAll(() => {
  podman = new Podman('tsvm-oci-podman-pods');
});
afterAll(() => podman[Symbol.dispose]());

const call = (...words: string[]) => podman.call(...words);
const OK = { status: 0, stderr: '' };

function makePod(name: string, ...options: string[]): void {
  onTestFinished(() => {
    call('pod', 'rm', '--force', '--time', '0', name);
  });
  podman.makePod(name, ...options);
}

const run = (pod: string, name: string, ...words: string[]) =>
  expect(call('run', '-d', '--pod', pod, '--name', name, IMAGE, ...words)).toMatchObject(OK);
const execute = (name: string, ...words: string[]) => call('exec', name, ...words);
const exitCode = (name: string) => podman.inspect(name, '.State.ExitCode');
const pod = (name: string) => JSON.parse(call('pod', 'inspect', name).stdout);
/** Ends by itself, a moment after it is asked to. */
const ends = (code: number) => `trap "sleep 0.5; echo bye; exit ${code}" TERM; echo up; while :; do sleep 0.1; done`;

test('containers of a pod are in one machine, and each ends by itself', async () => {
  makePod('one', '--network', 'none', '--hostname', 'of-pod', '--shm-size', '12m', '--memory', '512m');
  // Process 1 gets no signal that it does not ask for.
  const serve = 'trap "exit 4" TERM; perl -e "$0" "$@" & wait';
  run('one', 'server', 'sh', '-c', serve, SERVER, '8080', String(SIZE));
  for (const [name, code] of [
    ['five', 5],
    ['six', 6],
  ] as const)
    run('one', name, 'sh', '-c', ends(code));
  for (const [name, line] of [
    ['server', 'up\n'],
    ['five', 'up\n'],
    ['six', 'up\n'],
  ] as const) {
    await expect.poll(() => call('logs', name).stdout).toBe(line);
  }
  const ids = ['server', 'five', 'six'].map((name) => execute(name, 'cat', BOOT_ID).stdout);
  expect(new Set(ids).size).toBe(1);
  expect(execute('five', 'hostname')).toMatchObject({ ...OK, stdout: 'of-pod\n' });
  // All that works for the pod is in its cgroup, whose limit podman gives nobody else.
  const [, memory] = /^MemTotal: +(\d+) kB$/m.exec(execute('five', 'cat', '/proc/meminfo').stdout) ?? [];
  expect(Number(memory)).toBeLessThan(352 * 1024);
  const answer = execute('six', 'perl', '-e', CLIENT, '127.0.0.1:8080');
  expect(answer).toMatchObject(OK);
  expect(answer.stdout).toHaveLength(SIZE);
  expect(execute('six', 'sh', '-c', 'echo shared >/dev/shm/x').status).toBe(0);
  const look = 'cat /dev/shm/x; grep " /dev/shm " /proc/mounts';
  expect(execute('five', 'sh', '-c', look).stdout).toMatch(/^shared\nshm .*nosuid,nodev,noexec.*size=12288k/);
  expect(call('pause', 'five')).toMatchObject(OK);
  expect(pod('one').State).toBe('Degraded');
  expect(execute('six', 'true')).toMatchObject(OK);
  expect(call('unpause', 'five')).toMatchObject(OK);
  expect(call('pod', 'pause', 'one')).toMatchObject(OK);
  expect(pod('one').State).toBe('Paused');
  expect(call('pod', 'unpause', 'one')).toMatchObject(OK);
  const { State, NumContainers, Containers, InfraContainerID } = pod('one');
  expect({ State, NumContainers }).toEqual({ State: 'Running', NumContainers: 4 });
  expect(Containers.map((each: { State: string }) => each.State)).toEqual(Array(4).fill('running'));

  // One container of several.
  expect(call('stop', '--time', '30', 'six')).toMatchObject(OK);
  expect(exitCode('six')).toBe('6');
  expect(pod('one').State).toBe('Degraded');
  expect(call('start', 'six')).toMatchObject(OK);
  expect(execute('six', 'cat', BOOT_ID).stdout).toBe(ids[0]);
  // It hears signals.
  await expect.poll(() => call('logs', 'six').stdout).toBe('up\nbye\nup\n');

  // The infra container ends before the others, which take a moment.
  expect(call('pod', 'stop', '--time', '30', 'one')).toMatchObject(OK);
  expect(['five', 'six', 'server', InfraContainerID].map(exitCode)).toEqual(['5', '6', '4', '0']);
  expect(call('logs', 'five').stdout).toBe('up\nbye\n');
  expect(pod('one').State).toBe('Exited');
  await expect.poll(() => podman.left).toEqual([]);

  // All are there again, in a new machine.
  expect(call('pod', 'start', 'one')).toMatchObject(OK);
  const again = ['server', 'five', 'six'].map((name) => execute(name, 'cat', BOOT_ID).stdout);
  expect(new Set(again).size).toBe(1);
  expect(again[0]).not.toBe(ids[0]);
  expect(call('pod', 'rm', '--force', '--time', '0', 'one')).toMatchObject(OK);
  await expect.poll(() => podman.left).toEqual([]);
});

test('a pod has the network of its infra container, and a published port reaches what serves in it', async () => {
  makePod('two', '--network', 'podman', '-p', '127.0.0.1:18082:80');
  run('two', 'web', 'perl', '-e', SERVER, '80', String(SIZE));
  run('two', 'beside', 'sleep', '1000');
  await expect.poll(() => call('logs', 'web').stdout).toBe('up\n');
  const ask = ['perl', '-e', CLIENT];
  expect(execute('beside', ...ask, '127.0.0.1:80').stdout).toHaveLength(SIZE);
  const address = podman.inspect(pod('two').InfraContainerID, '.NetworkSettings.Networks.podman.IPAddress');
  for (const to of [`${address}:80`, '127.0.0.1:18082']) {
    const answer = podman.engine.run([...ask, to]);
    expect(answer).toMatchObject(OK);
    expect(answer.stdout).toHaveLength(SIZE);
  }
  expect(call('pod', 'rm', '--force', '--time', '0', 'two')).toMatchObject(OK);
  await expect.poll(() => podman.left).toEqual([]);
  await expect.poll(() => podman.engine.run(['ip', '-brief', 'link', 'show', 'type', 'veth']).stdout).toBe('');
});

test('a container sees the processes of the one whose pid namespace it joins, if it is in its network', async () => {
  onTestFinished(() => {
    for (const name of ['joiner', 'target']) call('rm', '--force', '--time', '0', name);
  });
  const start = (name: string, ...words: string[]) => call('run', '-d', '--name', name, ...words);
  const limits = ['--cgroup-parent', `/${podman.cgroup}`, '--network'];
  expect(start('target', ...limits, 'none', IMAGE, 'sleep', '4321')).toMatchObject(OK);
  const joins = ['--pid', 'container:target'];
  const refused = start('joiner', ...limits, 'none', ...joins, IMAGE, 'sleep', '1000');
  expect(refused.stderr).toContain('joining the pid namespace of what is not in the same machine is not supported');
  call('rm', '--force', 'joiner');
  expect(start('joiner', ...limits, 'container:target', ...joins, IMAGE, 'sh', '-c', ends(5))).toMatchObject(OK);
  await expect.poll(() => call('logs', 'joiner').stdout).toBe('up\n');
  const seen = execute('joiner', 'sh', '-c', 'tr "\\0" " " </proc/1/cmdline; kill -9 1; kill -0 1');
  expect(seen).toMatchObject({ status: 0, stdout: 'sleep 4321 ' });
  expect(call('stop', '--time', '30', 'joiner')).toMatchObject(OK);
  expect(exitCode('joiner')).toBe('5');
  expect(call('start', 'joiner')).toMatchObject(OK);
  // With the first one of the namespace it ends.
  expect(call('kill', 'target')).toMatchObject(OK);
  await expect.poll(() => exitCode('joiner')).toBe('137');
  // podman removes none that another one depends on.
  for (const name of ['joiner', 'target']) expect(call('rm', '--force', '--time', '0', name)).toMatchObject(OK);
  await expect.poll(() => podman.left).toEqual([]);
});
