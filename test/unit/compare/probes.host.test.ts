// All probes at levels whose answers are known: a level that is nearer to the host answers `host` where
// a better one answers `closed`, and each probe has an answer at each of them.
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compare, levelsOf, ReportSchema } from '../../../compare/index.js';
import { PROBES } from '../../../compare/probe-list.js';
import { EMPTY_IMAGE, type EmptyImageHome, makeEmptyImageHome } from '../../fixtures/empty-image.js';

const LEVELS = ['process', 'namespaces', 'runc', 'runc-seccomp', 'nspawn', 'lxc', 'gvisor-ptrace'] as const;

let made: EmptyImageHome;
let found: Record<string, Record<string, string>>;

beforeAll(async () => {
  // Seven sandboxes, on a host that may be busy.
  made = await makeEmptyImageHome();
  const report = await compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels: levelsOf(LEVELS), probes: true, version: '1.0.0' },
    ...{ rounds: 1, memory: 2 ** 28, time: 10, limit: Infinity, atOnce: 0, signal: new AbortController().signal },
  });
  expect(ReportSchema.parse(report)).toEqual(report);
  expect(report.levels.map(({ name, reason }) => [name, reason])).toEqual(LEVELS.map((name) => [name, undefined]));
  found = Object.fromEntries(
    report.levels.map(({ name, probes }) => [
      name,
      Object.fromEntries(probes.map((probe) => [probe.name, probe.verdict])),
    ]),
  );
}, 600_000);

afterAll(() => made[Symbol.dispose]());

test.each(LEVELS)('%s answers every probe', (name) => {
  expect(Object.keys(found[name] ?? {})).toEqual(PROBES.map((probe) => probe.name));
});

test('a chroot sees the host: its processes, paths, network and devices', () => {
  const open = ['boot', 'release', 'hostname', 'memory', 'process', 'paths', 'loopback', 'abstract-socket', 'sysctl'];
  const more = ['clock', 'reboot', 'mount', 'device-node', 'bpf', 'perf', 'users', 'priority', 'raw-socket', 'symbols'];
  expect(found.process).toMatchObject(Object.fromEntries([...open, ...more].map((name) => [name, 'host'])));
  expect(found.process?.['root-write']).toBe('closed');
});

test('runc shares the kernel, and shuts the ways out of it', () => {
  const host = ['boot', 'release', 'memory', 'cpu-model', 'boot-time', 'command-line', 'users', 'fine-clock'];
  const closed = ['process', 'loopback', 'network', 'abstract-socket', 'engine-socket', 'sysctl', 'sysrq', 'modules'];
  const more = ['kexec', 'reboot', 'clock', 'disk', 'device-node', 'mount', 'file-handle', 'root-write', 'bpf', 'perf'];
  expect(found.runc).toMatchObject({
    ...{ hostname: 'own' },
    ...Object.fromEntries(host.map((name) => [name, 'host'])),
    ...Object.fromEntries([...closed, ...more].map((name) => [name, 'closed'])),
  });
});

test('a filter of system calls and a user namespace shut doors that runc leaves open', () => {
  const doors = ['users', 'watches', 'io_uring'];
  expect(found.runc).toMatchObject(Object.fromEntries(doors.map((name) => [name, 'host'])));
  expect(found['runc-seccomp']).toMatchObject(Object.fromEntries(doors.map((name) => [name, 'closed'])));
});

test.each(['nspawn', 'lxc'])('%s has a boot_id of its own, and the kernel of the host all the same', (name) => {
  expect(found[name]).toMatchObject({
    boot: 'own',
    release: 'host',
    ptrace: 'host',
    loopback: 'closed',
    clock: 'closed',
  });
});

test("gVisor's kernel is its own: no door that opens is the host's", () => {
  const gvisor = found['gvisor-ptrace'];
  expect(gvisor).toMatchObject({ release: 'own', hostname: 'own', process: 'closed', ptrace: 'own', bpf: 'closed' });
  const doors = PROBES.filter(({ kind, name }) => kind !== 'value' && gvisor?.[name] === 'host');
  expect(doors.map(({ name }) => name)).toEqual([]);
});

test('the probes leave nothing in the folders that they tried', () => {
  expect(['/tmp/.tsvm-probe-device', '/.tsvm-probe'].filter((path) => existsSync(path))).toEqual([]);
});
