// All probes at levels whose answers are known: a level that is nearer to the host answers `host` where
// a better one answers `closed`, and each probe has an answer at each of them.
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { compare, LEVELS, type Report, ReportSchema } from '../../../compare/index.js';
import { PROBES } from '../../../compare/probe-list.js';
import { EMPTY_IMAGE, type EmptyImageHome, makeEmptyImageHome } from '../../fixtures/empty-image.js';

const CONTAINERS = ['process', 'namespaces', 'runc', 'runc-seccomp', 'crun', 'nspawn', 'lxc', 'gvisor-ptrace'] as const;
const MACHINES = ['qemu', 'qemu-microvm', 'tcg', 'tcg-nojail', 'uml', 'uml-nojail'] as const;
/** What Debian's packages give, on any host. */
const OF_DEBIAN = [...CONTAINERS, ...MACHINES];

let made: EmptyImageHome;
let report: Report;
let found: Record<string, Record<string, string>>;

beforeAll(async () => {
  made = await makeEmptyImageHome();
  // tsvm's own levels are programs that find the image there.
  vi.stubEnv('TSVM_HOME', made.home.path);
  report = await compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels: LEVELS, probes: true, costs: false, version: '1.0.0' },
    ...{ rounds: 1, memory: 2 ** 28, time: 10, limit: Infinity, atOnce: 0, signal: new AbortController().signal },
  });
  found = Object.fromEntries(
    report.levels.map(({ name, probes }) => [
      name,
      Object.fromEntries(probes.map((probe) => [probe.name, probe.verdict])),
    ]),
  );
  // Twenty sandboxes, six of them emulated or traced, on a host that may be busy.
}, 600_000);

afterAll(() => {
  vi.unstubAllEnvs();
  made[Symbol.dispose]();
});

test('one comparison has all levels that Debian gives, and names what the others lack', () => {
  expect(ReportSchema.parse(report)).toEqual(report);
  expect(report.complete).toBe(true);
  const ofDebian = report.levels.filter(({ name }) => OF_DEBIAN.some((each) => each === name));
  expect(ofDebian.map(({ name, state, reason }) => [name, state, reason])).toEqual(
    LEVELS.flatMap(({ name }) => (OF_DEBIAN.some((each) => each === name) ? [[name, 'measured', undefined]] : [])),
  );
  const others = report.levels.filter((level) => !ofDebian.includes(level));
  expect(others.length).toBe(LEVELS.length - OF_DEBIAN.length);
  for (const { state, reason } of others) {
    if (state !== 'measured') expect(reason).toMatch(/^\S.+$/);
  }
  const isProgram = ({ name }: { name: string }) => name === 'firecracker' || name === 'cloud-hypervisor';
  for (const { state, reason, advice } of others.filter(isProgram)) {
    if (reason?.endsWith(' is not installed'))
      expect([state, advice]).toEqual(['missing', expect.stringContaining('https://')]);
  }
});

test.each(OF_DEBIAN)('%s answers every probe', (name) => {
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

test.each(MACHINES)("%s has a kernel of its own: no door that opens is the host's", (name) => {
  expect(found[name]).toMatchObject({ boot: 'own', process: 'closed', loopback: 'closed' });
  const doors = PROBES.filter((probe) => probe.kind !== 'value' && found[name]?.[probe.name] === 'host');
  expect(doors.map((probe) => probe.name)).toEqual([]);
});

test('the probes leave nothing in the folders that they tried', () => {
  expect(['/tmp/.tsvm-probe-device', '/.tsvm-probe'].filter((path) => existsSync(path))).toEqual([]);
});
