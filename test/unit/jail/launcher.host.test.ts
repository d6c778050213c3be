// A program in a jail reaches nothing of the host, as root and as an ordinary user, with namespaces
// and with what is left where the host refuses them; and the launcher says which it is.
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { streamCommand } from '../../../jail/launcher.js';
import type { JailReport } from '../../../sandbox/jail-report.js';
import { jailedCommand, NO_NEEDS } from '../../../sandbox/machine/jail.js';
import { MACHINE_PROGRAM } from '../../../sandbox/programs.js';
import { encodeFilter } from '../../../seccomp/bpf.js';
import type { SeccompProfile } from '../../../seccomp/profile.js';
import { compile, processProfile, vcpuProfile } from '../../../vmm/accel/system-calls.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const CFLAGS = ['-std=gnu11', '-D_GNU_SOURCE', '-static', '-O1', '-Wall', '-Wextra', '-Werror'];
const USER = 12345;
/** The first of the users of root's jails. */
const FIRST_OWN = 2_130_706_432;

let folder: string;
let cases = 0;

beforeAll(async () => {
  folder = mkdtempSync('/tmp/tsvm-jail-');
  chmodSync(folder, 0o755);
  for (const name of ['exploit', 'refuse']) {
    execFileSync('gcc', [...CFLAGS, '-o', join(folder, name), join(here, `${name}.c`)]);
  }
  execFileSync('make', ['-s', '-C', join(here, '../../../jail'), `OUT=${folder}`]);
  copyFileSync(join(here, 'owner.mjs'), join(folder, 'owner.mjs'));
  await build({
    entryPoints: [join(here, 'companion-owner.ts')],
    ...({ bundle: true, format: 'esm', platform: 'node', target: 'node20', external: ['koffi'] } as const),
    outfile: join(folder, 'companion-owner.mjs'),
  });
  // The ordinary user may not enter the checkout.
  for (const name of ['koffi', '@koromix']) {
    cpSync(join(here, '../../../node_modules', name), join(folder, 'node_modules', name), { recursive: true });
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Outcome {
  /** By name: `yes`, or the error. */
  attempts: Record<string, string>;
  report: JailReport | null;
  status: number | null;
  stderr: string;
}

function optionsOf([, ...words]: string[]): string[] {
  const options = words.slice(0, words.indexOf('--'));
  return options.flatMap((word, at) =>
    at % 2 === 0 && !['--report', '--keep', '--filter'].includes(word) ? [word, options[at + 1]!] : [],
  );
}

/** What a machine process gets of the host: files, devices, environment. */
const machineOptions = () => optionsOf(jailedCommand(MACHINE_PROGRAM, [], NO_NEEDS));

interface Case {
  refused?: string;
  isJailed?: boolean;
  /** Default: a machine's. */
  options?: string[];
}

/** Runs the exploit for an owner who is this user. */
function exploit(uid: number, { refused, isJailed = true, options = machineOptions() }: Case = {}): Outcome {
  const own = folderOf(uid);
  const prefix = refused === undefined ? [] : [join(folder, 'refuse'), refused, '--'];
  const launcher = isJailed ? [join(folder, 'tsvm-jail'), ...options] : [];
  return runAs(uid, [
    ...[process.execPath, join(folder, 'owner.mjs'), own, join(folder, 'exploit')],
    ...[...prefix, ...launcher],
  ]);
}

type Place = 'qemu' | 'qemu-disks' | 'uml';

/** Runs the exploit in the place of a machine's companion, for an owner who is this user. */
function exploitAsCompanion(place: Place, uid: number, refused?: string): Outcome {
  const prefix = refused === undefined ? [] : [join(folder, 'refuse'), refused];
  const program = [process.execPath, join(folder, 'companion-owner.mjs')];
  return runAs(uid, [...prefix, ...program, folderOf(uid), join(folder, 'exploit'), place]);
}

/** Runs the exploit in the place of a decompressor, with its filter. */
function exploitAsDecompressor(uid: number, refused?: string): Outcome {
  const { words, filter } = streamCommand('zstd', [])!;
  return exploitFiltered(uid, filter!, { options: optionsOf(words), ...(refused === undefined ? {} : { refused }) });
}

function exploitFiltered(uid: number, filter: Uint8Array, options: Case): Outcome {
  process.env.FILTER = join(folder, 'filter');
  writeFileSync(process.env.FILTER, filter);
  try {
    return exploit(uid, options);
  } finally {
    delete process.env.FILTER;
  }
}

/** What the exploit needs until main(), and no machine process once its guest runs. */
const START = 'execve arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom';
/** What the exploit needs to tell what it reached, and a vCPU's thread may not do. */
const TELL = 'fstat write exit_group';

/** The filter of a machine process whose guest runs, but that a call which is not on its list fails. */
function machineFilter(isEmulated: boolean): Uint8Array {
  const parts = { hasShares: false, slot: -1, firstKept: 64, hasBudget: false, hasNetwork: true, hasRelay: true };
  return withMore(processProfile({ ...parts, canSwitchUser: false, isEmulated }, 'refuse'), START);
}

/** The filter of a vCPU's thread, but that it fails what it does not allow. */
const vcpuFilter = () => withMore(vcpuProfile('refuse'), `${START} ${TELL}`);

function withMore(profile: SeccompProfile, names: string): Uint8Array {
  const more = { names: names.split(' '), action: 'SCMP_ACT_ALLOW' as const };
  return encodeFilter(compile({ ...profile, syscalls: [more, ...(profile.syscalls ?? [])] }));
}

/** A folder of this user's alone. */
function folderOf(uid: number): string {
  const own = join(folder, `case-${cases++}`);
  mkdirSync(own, { mode: 0o700 });
  chownSync(own, uid, uid);
  return own;
}

function runAs(uid: number, words: readonly string[]): Outcome {
  // What an attempt changes ends with these namespaces, also where it succeeds.
  const apart = ['--mount', '--ipc', '--propagation', 'private'];
  const user = ['setpriv', '--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups'];
  const command = [...apart, ...(uid === 0 ? [] : user), ...words];
  const text = execFileSync('unshare', command, { encoding: 'utf8', cwd: '/' });
  return JSON.parse(text) as Outcome;
}

const reached = ({ attempts }: Outcome) =>
  Object.entries(attempts)
    .filter(([, result]) => result === 'yes')
    .map(([name]) => name)
    .sort();

/** What the program may do: use the folder that it was given. */
const GIVEN = ['passed-folder', 'passed-write'];

/** What an ordinary process of root reaches. */
const FREE = [
  ...['abstract-socket', 'capability', 'environment', 'environment-words', 'execute-shell', 'inherited-descriptor'],
  ...[
    'list-folder',
    'list-homes',
    'list-root-home',
    'mount',
    'owner-files',
    'owner-memory',
    'path-socket',
    'privileges',
    'raw-disk',
  ],
  ...['read-passwd', 'read-secret', 'read-shadow', 'see-processes', 'shared-memory', 'signal-init', 'signal-owner'],
  ...['tcp', 'trace-owner', 'udp', 'write-core-pattern', 'write-folder', 'write-root', 'write-tmp'],
];

const EVERYTHING = {
  ...{ files: 'namespace', network: 'namespace', processes: 'namespace', sockets: 'namespace', ipc: 'namespace' },
};
/** What is tried in a companion's place alone. */
const IN_COMPANIONS_PLACE = [
  ...['above-own', 'shrink-memory', 'process', 'user-namespace', 'trace-parent', 'session'],
  ...['own-descriptor', 'path-descriptor', 'uncounted-memory'],
];

test('without a jail the exploit reaches what it tries to reach', () => {
  // The limit of core files is the caller's.
  expect(reached(exploit(0, { isJailed: false })).filter((name) => name !== 'core')).toEqual(FREE);
});

test("root's file server keeps its capabilities, and what it starts has none of them", () => {
  const options = optionsOf(jailedCommand(MACHINE_PROGRAM, [], { ...NO_NEEDS, hasShares: true }));
  const look = 'grep CapEff /proc/self/status';
  const words = [
    ...options,
    '--read',
    '/usr/bin',
    '--',
    '/usr/bin/dash',
    '-c',
    `${look}; setpriv --ambient-caps=-all ${look}`,
  ];
  const lines = execFileSync(join(folder, 'tsvm-jail'), words, { encoding: 'utf8' }).trim().split('\n');
  expect(lines.map((line) => line.split('\t')[1])).toEqual(['00000000800001db', '0000000000000000']);
});

describe.each([
  ['root', 0],
  ['an ordinary user', USER],
])('as %s', (_, uid) => {
  test('namespaces leave nothing to reach', () => {
    const outcome = exploit(uid);
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    expect(outcome.report).toMatchObject({
      ...{ files: 'namespace', network: 'namespace', processes: 'namespace', sockets: 'namespace', ipc: 'namespace' },
      user: uid !== 0,
      uid: uid === 0 ? expect.toSatisfy((own: number) => own >= FIRST_OWN) : uid,
    });
    expect(outcome.report).not.toHaveProperty('noNamespaces');
    expect(reached(outcome)).toEqual(GIVEN);
  });

  test('a folder that is passed to be read cannot be written to', () => {
    process.env.PASS_AS = 'ro:';
    try {
      const outcome = exploit(uid);
      expect(reached(outcome)).toEqual(['passed-folder']);
      expect(outcome.attempts['passed-write']).toBe('EROFS');
      const byLandlock = exploit(uid, { refused: 'namespaces' });
      expect(byLandlock.attempts).toMatchObject({ 'passed-folder': 'yes', 'passed-write': 'EACCES' });
    } finally {
      delete process.env.PASS_AS;
    }
  });

  test('in the place of a decompressor too', () => {
    const outcome = exploitAsDecompressor(uid);
    expect(outcome).toMatchObject({ status: 0, stderr: '', report: EVERYTHING });
    expect(outcome.report).not.toHaveProperty('noNamespaces');
    expect(Object.keys(outcome.attempts)).toEqual(expect.arrayContaining(['udp', 'mount', 'passed-folder']));
    // It cannot receive a folder.
    expect(reached(outcome)).toEqual([]);
  });

  test.each(['namespaces', 'mounts'])(
    'in the place of a decompressor, where the host refuses %s, there is nothing to reach either',
    (refused) => {
      const outcome = exploitAsDecompressor(uid, refused);
      expect(outcome).toMatchObject({ status: 0, stderr: '', report: { files: 'landlock', processes: 'landlock' } });
      expect(Object.keys(outcome.attempts)).toEqual(expect.arrayContaining(['udp', 'path-socket', 'shared-memory']));
      // Here the folder was its from the start.
      expect(reached(outcome)).toEqual(GIVEN);
    },
  );

  test('in the place of a decompressor, without namespaces and landlock, only files are left', () => {
    const outcome = exploitAsDecompressor(uid, 'landlock');
    expect(outcome).toMatchObject({ status: 0, stderr: '', report: { files: null, network: null, processes: null } });
    const everyones = ['execute-shell', 'list-homes', 'read-passwd', 'write-tmp'];
    // Root's jail has a user of its own.
    const ofUser = ['above-passed', 'list-folder', 'owner-files', 'owner-memory', 'read-secret', 'write-folder'];
    expect(reached(outcome)).toEqual([...GIVEN, ...everyones, ...(uid === 0 ? [] : ofUser)].sort());
  });

  test("in QEMU's place too", () => {
    const outcome = exploitAsCompanion('qemu', uid);
    expect(outcome).toMatchObject({ status: 0, stderr: '', report: EVERYTHING });
    expect(outcome.report).not.toHaveProperty('noNamespaces');
    expect(Object.keys(outcome.attempts)).toEqual(expect.arrayContaining([...IN_COMPANIONS_PLACE, 'udp', 'mount']));
    expect(reached(outcome)).toEqual([]);
  });

  test.each(['namespaces', 'mounts'])(
    "in QEMU's place, where the host refuses %s, only a socket with a path is left, and none without a network",
    (refused) => {
      const outcome = exploitAsCompanion('qemu', uid, refused);
      expect(outcome).toMatchObject({ status: 0, stderr: '', report: { files: 'landlock', processes: 'landlock' } });
      expect(Object.keys(outcome.attempts)).toEqual(expect.arrayContaining(IN_COMPANIONS_PLACE));
      expect(reached(outcome)).toEqual(uid === 0 ? [] : ['path-socket']);
      expect(reached(exploitAsCompanion('qemu-disks', uid, refused))).toEqual([]);
    },
  );

  test("in QEMU's place, without namespaces and landlock, processes, network and privileges are still closed", () => {
    const outcome = exploitAsCompanion('qemu', uid, 'landlock');
    expect(outcome).toMatchObject({ status: 0, stderr: '', report: { files: null, processes: null } });
    const everyones = ['abstract-socket', 'execute-shell', 'list-homes', 'read-passwd', 'see-processes', 'write-tmp'];
    // Root's jail has a user of its own.
    const ofUser = ['list-folder', 'owner-files', 'owner-memory', 'path-socket', 'read-secret', 'write-folder'];
    expect(reached(outcome)).toEqual([...everyones, ...(uid === 0 ? [] : ofUser)].sort());
  });

  test('in the place of User-Mode Linux, which starts processes, there is nothing else to reach', () => {
    const outcome = exploitAsCompanion('uml', uid);
    expect(outcome).toMatchObject({ status: 0, stderr: '', report: EVERYTHING });
    expect(outcome.report).not.toHaveProperty('noNamespaces');
    expect(Object.keys(outcome.attempts)).toEqual(expect.arrayContaining([...IN_COMPANIONS_PLACE, 'udp', 'mount']));
    // Its processes share memory. Its root is that of its jail.
    expect(reached(outcome)).toEqual(['path-descriptor', 'process', 'uncounted-memory']);
  });

  test.each(['namespaces', 'mounts', 'landlock'])(
    'where the host refuses %s, nothing runs in the place of User-Mode Linux',
    (refused) => {
      const outcome = exploitAsCompanion('uml', uid, refused);
      expect(outcome).toMatchObject({ attempts: {}, report: null, status: 125 });
      expect(outcome.stderr).toMatch(/without namespaces$/);
    },
  );

  test.each(['namespaces', 'mounts'])(
    'where the host refuses %s, landlock closes files, TCP and processes',
    (refused) => {
      const outcome = exploit(uid, { refused });
      expect(outcome).toMatchObject({ status: 0, stderr: '' });
      expect(outcome.report).toMatchObject({
        ...{ files: 'landlock', network: 'landlock', processes: 'landlock', sockets: 'landlock', ipc: null },
        noNamespaces: expect.stringMatching(/Operation not permitted/),
      });
      // Landlock knows neither datagrams, nor sockets with a path, nor System V IPC. Root's jail has a
      // user of its own, to whom the owner's sockets are closed.
      const sockets = uid === 0 ? [] : ['path-socket', 'socket-above-passed'];
      expect(reached(outcome)).toEqual([...GIVEN, ...sockets, 'shared-memory', 'udp'].sort());
    },
  );

  test.each([
    ['KVM', 'namespaces', false],
    ['KVM', 'landlock', false],
    ['an emulator', 'namespaces', true],
    ['an emulator', 'landlock', true],
  ])(
    'in the place of a machine on %s whose guest runs, where the host refuses %s, there is nothing to reach',
    (_, refused, isEmulated) => {
      const outcome = exploitFiltered(uid, machineFilter(isEmulated), { refused });
      expect(outcome).toMatchObject({ status: 0, stderr: '', report: { noNamespaces: expect.any(String) } });
      expect(Object.keys(outcome.attempts)).toEqual(
        expect.arrayContaining(['udp', 'path-socket', 'shared-memory', 'tcp']),
      );
      expect(reached(outcome)).toEqual([]);
    },
  );

  test.each(['nothing', 'namespaces', 'landlock'])(
    "in the place of a vCPU's thread, where the host refuses %s, there is nothing to reach",
    (refused) => {
      const outcome = exploitFiltered(uid, vcpuFilter(), refused === 'nothing' ? {} : { refused });
      expect(outcome).toMatchObject({ status: 0, stderr: '', report: expect.anything() });
      expect(Object.keys(outcome.attempts)).toEqual(
        expect.arrayContaining(['udp', 'path-socket', 'shared-memory', 'tcp', 'signal-owner', 'trace-owner']),
      );
      expect(reached(outcome)).toEqual([]);
    },
  );

  test('without namespaces and landlock, descriptors, environment and privileges are still closed', () => {
    const outcome = exploit(uid, { refused: 'landlock' });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    expect(outcome.report).toMatchObject({ files: null, network: null, processes: null, sockets: null, ipc: null });
    expect(outcome.report?.noLandlock).toMatch(/Function not implemented/);
    for (const name of ['environment', 'inherited-descriptor', 'capability', 'core', 'privileges', 'mount']) {
      expect([name, outcome.attempts[name]]).not.toEqual([name, 'yes']);
    }
  });
});
