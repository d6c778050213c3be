// Each option of a container has one declaration, from which help and completion come. Options set
// the right fields, also if they are repeated or empty.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addContainerOptions, CONTAINER_OPTIONS, toContainerSpec } from '../../../../cli/options/container-options.js';
import { type Declaration, texts } from '../../../../cli/options/declaration.js';
import { NETWORK_OPTIONS } from '../../../../cli/options/network-options.js';
import type { ContainerSpec, NetworkOptions } from '../../../../sandbox/internal.js';

const TSVM = fileURLToPath(new URL('../../../../bin/tsvm', import.meta.url));

/** The options of each field. A new field of the spec does not compile without a line here. */
const CONTAINER_FIELDS: Record<
  Exclude<keyof ContainerSpec, 'image' | 'command' | 'noCommand' | 'network'>,
  string[]
> = {
  name: ['--name'],
  autoRemove: ['--rm'],
  labels: ['--label-file', '--label'],
  restart: ['--restart'],
  stopSignal: ['--stop-signal'],
  stopTimeout: ['--stop-timeout'],
  logs: ['--log-opt'],
  health: [
    '--health-cmd',
    '--health-interval',
    '--health-timeout',
    '--health-retries',
    '--health-start-period',
    '--health-start-interval',
  ],
  noHealthcheck: ['--no-healthcheck'],
  pull: ['--pull'],
  platform: ['--platform'],
  stdin: ['--interactive'],
  terminal: ['--tty'],
  env: ['--env-file', '--env'],
  cwd: ['--workdir'],
  user: ['--user'],
  entrypoint: ['--entrypoint'],
  init: ['--init'],
  timeout: ['--timeout'],
  hostname: ['--hostname'],
  readOnly: ['--read-only'],
  disk: ['--disk'],
  tmpfs: ['--tmpfs', '--mount'],
  mounts: ['--volume', '--mount'],
  shmSize: ['--shm-size'],
  cpus: ['--cpus'],
  memory: ['--memory'],
  deviceRates: ['--device-read-bps', '--device-write-bps', '--device-read-iops', '--device-write-iops'],
  pidsLimit: ['--pids-limit'],
  ulimits: ['--ulimit'],
  privileged: ['--privileged'],
  devices: ['--device'],
  groupAdd: ['--group-add'],
  capAdd: ['--cap-add'],
  capDrop: ['--cap-drop'],
  noNewPrivileges: ['--security-opt'],
  seccomp: ['--security-opt'],
  sysctls: ['--sysctl'],
  kernel: ['--kernel'],
  kernelModules: ['--kernel-modules'],
  console: ['--console'],
  accel: ['--accel'],
  cold: ['--cold'],
  isolation: ['--isolation'],
  cgroupParent: ['--cgroup-parent'],
  jail: ['--jail'],
};

const NETWORK_FIELDS: Record<keyof NetworkOptions, string[]> = {
  mode: ['--network'],
  aliases: ['--network-alias'],
  publish: ['--publish'],
  publishAll: ['--publish-all'],
  expose: ['--expose'],
  dns: ['--dns'],
  dnsSearch: ['--dns-search'],
  dnsOptions: ['--dns-option'],
  hosts: ['--add-host'],
  allow: ['--allow-net'],
  deny: ['--deny-net'],
  maxConnections: ['--max-connections'],
  bytesPerSecond: ['--network-bps'],
  packetsPerSecond: ['--network-pps'],
  mac: ['--mac-address'],
};

let home: string;

beforeAll(() => {
  home = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(home, 'runtime'), { mode: 0o700 });
  writeFileSync(join(home, 'env'), 'A=file\nB=file\n');
  writeFileSync(join(home, 'labels'), 'a=file\nb=file\n');
  tsvm('network', 'create', 'lan');
});

afterAll(() => rmSync(home, { recursive: true }));

function tsvm(...words: string[]): string {
  const env = { ...process.env, TSVM_HOME: home, XDG_RUNTIME_DIR: join(home, 'runtime') };
  return execFileSync(TSVM, words, { encoding: 'utf8', env });
}

const complete = (...words: string[]) =>
  tsvm('__complete', 'run', ...words)
    .split('\n')
    .slice(0, -1);

function longName({ flags }: { flags: string }): string {
  return /--[a-z-]+/.exec(flags)?.[0] ?? '';
}

/** The long names of the options that set each field. */
function fieldsOf<Spec>(declarations: readonly Declaration<Spec>[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const declaration of declarations) {
    for (const field of declaration.fields ?? [declaration.field]) {
      found[String(field)] = [...(found[String(field)] ?? []), longName(declaration)];
    }
  }
  return found;
}

/** The spec of a container with these options. */
function spec(...words: string[]) {
  const command = addContainerOptions(new Command()).exitOverride();
  command.parse([...words, 'image'], { from: 'user' });
  const { image: _image, command: _command, ...fields } = toContainerSpec('image', [], command);
  return fields;
}

test('each field of a spec is set by its declared options, and each option is declared once', () => {
  expect(fieldsOf(CONTAINER_OPTIONS)).toEqual(CONTAINER_FIELDS);
  expect(fieldsOf(NETWORK_OPTIONS)).toEqual(NETWORK_FIELDS);
  const names = [...CONTAINER_OPTIONS, ...NETWORK_OPTIONS].map(longName);
  expect(names).toEqual([...new Set(names)]);
});

test("a declaration's parser has the type of its field", () => {
  const wrong: Declaration<ContainerSpec>[] = [
    // @ts-expect-error a list is no number
    { flags: '--shm-size <SIZE>', help: '', field: 'shmSize', parse: texts },
    // @ts-expect-error a number is no flag
    { flags: '--cpus', help: '', field: 'cpus' },
    // @ts-expect-error not a word of the field's
    { flags: '--pull <WHEN>', help: '', field: 'pull', choices: ['often'] },
  ];
  expect(wrong).toHaveLength(3);
});

test.each(['run', 'create'])('the help of %s lists each option with its line', (command) => {
  const help = tsvm(command, '--help').replace(/\s+/g, ' ');
  for (const { flags, help: line } of [...CONTAINER_OPTIONS, ...NETWORK_OPTIONS])
    expect(help).toContain(`${flags} ${line}`);
});

describe('completion', () => {
  test('knows each option', () => {
    const names = [...CONTAINER_OPTIONS, ...NETWORK_OPTIONS].map(longName);
    expect(complete('--')).toEqual(expect.arrayContaining(names));
  });

  test.each([
    [
      ['--pull', ''],
      ['missing', 'always', 'never'],
    ],
    [['--restart', 'on'], ['on-failure']],
    [
      ['--network', ''],
      ['none', 'default', 'lan'],
    ],
    [['--rm', '-e', 'TSVM_H'], ['TSVM_HOME']],
    [['-ite', 'TSVM_H'], ['TSVM_HOME']],
    [['--memory', ''], []],
    [['image', '--re'], []],
  ])('%j is followed by %j', (words, expected) => expect(complete(...words)).toEqual(expected));
});

describe('an option that is given more than once', () => {
  test('adds to a list', () => {
    expect(spec('--cap-add', 'A', '--cap-add', 'B', '-p', '1', '-p', '2')).toEqual({
      capAdd: ['A', 'B'],
      network: { publish: ['1', '2'] },
    });
  });

  test('adds to a record, whatever the name', () => {
    const { sysctls } = spec('--sysctl', 'a.b=1', '--sysctl', '__proto__=2', '--sysctl', 'a.b=3');
    expect(Object.entries(sysctls ?? {})).toEqual([
      ['a.b', '3'],
      ['__proto__', '2'],
    ]);
  });

  test('replaces one value, whole', () => {
    expect(spec('--restart', 'on-failure:3', '--restart', 'always')).toMatchObject({ restart: { name: 'always' } });
    expect(spec('-m', '1g', '-m', '2g')).toMatchObject({ memory: 2 ** 31 });
  });

  test('is parsed each time: no wrong value is silently replaced', () => {
    expect(() => spec('--cpus', 'x', '--cpus', '1')).toThrow("invalid argument 'x' for --cpus");
  });

  test('is refused if the container can have only one', () => {
    expect(() => spec('--network', 'a1', '--network', 'b1')).toThrow('--network was given twice');
    expect(spec('--network', 'a1', '--network', 'a1')).toEqual({ network: { mode: 'a1' } });
  });
});

test('a value of the command line wins over a line of a file, in any order', () => {
  const [env, labels] = [join(home, 'env'), join(home, 'labels')];
  expect(spec('-e', 'A=own', '--env-file', env, '-l', 'a=own', '--label-file', labels)).toEqual({
    env: { A: 'own', B: 'file' },
    labels: { a: 'own', b: 'file' },
    network: {},
  });
});

test('an empty text stands for the default, also after another text; an empty entrypoint is no entrypoint', () => {
  const options = [
    '--name',
    '--user',
    '--workdir',
    '--hostname',
    '--platform',
    '--stop-signal',
    '--restart',
    '--kernel',
  ];
  expect(spec(...options.flatMap((option) => [option, '']))).toEqual({ network: {} });
  expect(spec('--network', '', '--mac-address', '', '--pull', '', '--accel', '')).toEqual({ network: {} });
  expect(spec('--user', 'www-data', '--user', '')).toEqual({ network: {} });
  expect(spec('--entrypoint', '')).toEqual({ entrypoint: '', network: {} });
});

test('--mount sets the field of its type, beside -v and --tmpfs', () => {
  const words = ['--mount', 'type=tmpfs,dst=/a', '--mount', 'src=b,dst=/b', '-v', 'c:/c', '--tmpfs', '/d'];
  expect(spec(...words)).toMatchObject({
    mounts: [{ target: '/c' }, { target: '/b' }],
    tmpfs: [{ path: '/d' }, { path: '/a' }],
  });
});

test('options of the health check set its fields; --no-healthcheck is a flag that is off unless given', () => {
  const times = ['--health-interval', '1m30s', '--health-timeout', '500ms', '--health-start-period', '5'];
  expect(spec('--health-cmd', 'a b', ...times, '--health-start-interval', '1s', '--health-retries', '2')).toEqual({
    health: {
      ...{ command: 'a b', interval: 90_000, timeout: 500, startPeriod: 5000, startInterval: 1000, retries: 2 },
    },
    network: {},
  });
  expect(spec('--health-cmd', 'a', '--health-cmd', '')).toEqual({ network: {} });
  expect(spec('--health-cmd', 'a', '--health-retries', '1', '--health-cmd', '')).toMatchObject({
    health: { retries: 1 },
  });
  expect(spec('--no-healthcheck')).toEqual({ noHealthcheck: true, network: {} });
  expect(() => spec('--health-interval', 'x')).toThrow("invalid argument 'x' for --health-interval");
});

describe('$TSVM_ACCEL', () => {
  test.each([
    ['tcg', [], { accel: 'tcg' }],
    ['tcg', ['--accel', 'kvm'], { accel: 'kvm' }],
    ['', [], {}],
  ])('as %j with %j gives %j', (value, words, expected) => {
    process.env.TSVM_ACCEL = value;
    try {
      expect(spec(...words)).toEqual({ ...expected, network: {} });
    } finally {
      delete process.env.TSVM_ACCEL;
    }
  });

  test('is named in the error for its value', () => {
    process.env.TSVM_ACCEL = 'hvf';
    try {
      expect(() => spec()).toThrow("invalid argument 'hvf' for TSVM_ACCEL: expected auto, kvm, tcg or uml");
    } finally {
      delete process.env.TSVM_ACCEL;
    }
  });
});
