// The command line as a whole: help, errors of usage, exit codes, and commands that need no
// machine.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { transform } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tar } from '../../fixtures/tar-writer.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

const NO_DIR = '--checkpoint-dir is not supported: checkpoints are in the home (TSVM_HOME)';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  writeFileSync(join(folder, 'root.tar'), tar([{ path: 'hello', data: Buffer.from('hi') }]));
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Runs tsvm with its own home, runtime folder and kernel cache. */
function tsvm(args: string[], { env = {}, input = '' }: { env?: object; input?: string | Buffer } = {}) {
  const { status, stdout, stderr } = spawnSync(TSVM, args, {
    encoding: 'utf8',
    input,
    env: {
      ...process.env,
      TSVM_HOME: join(folder, 'home'),
      TSVM_KERNEL_CACHE: join(folder, 'kernels'),
      XDG_RUNTIME_DIR: join(folder, 'runtime'),
      ...env,
    },
  });
  return { status, stdout, stderr };
}

/** Runs `tsvm run` with a file as its kernel, which is never booted here. */
const run = (...args: string[]) => tsvm(['run', '--kernel', join(folder, 'root.tar'), ...args]);

test('the version is printed', () => {
  expect(tsvm(['--version'])).toEqual({
    status: 0,
    stdout: expect.stringMatching(/^tsvm \d+\.\d+\.\d+\n$/),
    stderr: '',
  });
});

const COMMANDS = [
  ...[
    'run',
    'images',
    'import',
    'pull',
    'login',
    'logout',
    'load',
    'save',
    'tag',
    'history',
    'inspect',
    'rmi',
    'prune',
    'df',
  ],
  ...['kernel', 'doctor'],
];

test.each([[[]], [['--help']], [['help']]])('%j explains the program and lists its commands', (args) => {
  const { status, stdout } = tsvm(args);
  expect(status).toBe(0);
  for (const command of COMMANDS) expect(stdout).toContain(`  ${command} `);
});

test('tenants of a folder that is none are not there, and it is not made', () => {
  const data = join(folder, 'typo');
  for (const words of [
    ['ls'],
    ['set', '--jobs', '1', 'acme'],
    ['key', 'acme'],
    ['secret', 'ls', 'acme'],
    ['rm', 'acme'],
  ]) {
    const { status, stderr } = tsvm(['tenant', ...words, '--data', data]);
    expect([status, stderr]).toEqual([125, `tsvm: ${data} is no data folder of a service\n`]);
  }
  expect(existsSync(data)).toBe(false);
});

test.each(COMMANDS)('%s --help explains the command', (command) => {
  const { status, stdout, stderr } = tsvm([command, '--help']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toContain(`Usage: tsvm ${command}`);
  expect(stdout).not.toContain('default: []');
  expect(tsvm(['help', command]).stdout).toBe(stdout);
});

describe('a group of commands', () => {
  test.each(['container', 'image', 'network', 'volume', 'kernel'])('%s lists its commands', (group) => {
    const { status, stdout, stderr } = tsvm([group]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Usage: tsvm ${group} COMMAND\n(.*\n)*Commands:\n(.*\n)*  ls +list `));
    expect(tsvm([group, '--help']).stdout).toBe(stdout);
    expect(tsvm(['help', group]).stdout).toBe(stdout);
  });

  test.each(['network create', 'volume prune', 'container prune', 'kernel path'])('has the command %s', (name) => {
    const { status, stdout } = tsvm([...name.split(' '), '--help']);
    expect(status).toBe(0);
    expect(stdout).toContain(`Usage: tsvm ${name}`);
    expect(tsvm(['help', ...name.split(' ')]).stdout).toBe(stdout);
  });

  test('is not reached by a name with a space in it', () => {
    expect(tsvm(['volume ls']).stderr).toContain("'volume ls' is not a tsvm command");
  });
});

test('global options count before the command and before a command of a group', () => {
  tsvm(['network', 'create', 'quiet']);
  const { stdout } = tsvm(['network', 'ls', '-q']);
  expect(stdout).toMatch(/^[0-9a-f]{12}\n$/);
  expect(tsvm(['-q', 'network', 'ls']).stdout).toBe(stdout);
  expect(tsvm(['network', '-q', 'ls']).stdout).toBe(stdout);
  expect(tsvm(['-q', 'ps', '-a']).stdout).toBe('');
  expect(tsvm(['-q', 'images']).stdout).toBe('');
});

describe('one clear line and exit code 125 for', () => {
  test.each<[string, string[], string]>([
    ['an unknown command', ['frobnicate'], "'frobnicate' is not a tsvm command\nSee 'tsvm --help'."],
    [
      'an unknown command of a group',
      ['network', 'lss'],
      "'network lss' is not a tsvm command, did you mean 'network ls'?",
    ],
    ['an unknown option', ['run', '--frob', 'x'], "unknown option '--frob'\nSee 'tsvm run --help'."],
    ['a missing image', ['run'], "missing required argument 'IMAGE'\nSee 'tsvm run --help'."],
    [
      'a snapshot and an image',
      ['run', '--snapshot', 'ready', 'x'],
      "a snapshot continues its own processes: give no image and no command\nSee 'tsvm run --help'.",
    ],
    [
      'an option that is as in the snapshot',
      ['run', '--snapshot', 'ready', '--memory', '1g'],
      "--memory cannot be given with --snapshot: it is as in the snapshot\nSee 'tsvm run --help'.",
    ],
    ['a missing snapshot', ['run', '--snapshot', 'ready'], 'no such snapshot: ready'],
    ['the removal of a missing snapshot', ['snapshot', 'rm', 'ready'], 'no such snapshot: ready'],
    ['a checkpoint of no container', ['checkpoint', 'create', 'web', 'ready'], 'no such container: web'],
    ['checkpoints of no container', ['checkpoint', 'ls', 'web'], 'no such container: web'],
    ['a checkpoint in a folder', ['checkpoint', 'create', '--checkpoint-dir', '/', 'web', 'ready'], NO_DIR],
    ['a start from a folder', ['start', '--checkpoint=ready', '--checkpoint-dir=/', 'web'], NO_DIR],
    [
      'two starts from a checkpoint',
      ['start', '--checkpoint', 'ready', 'web', 'db'],
      'only one container can be started with --checkpoint',
    ],
    ['a rollback of a missing container', ['rollback', 'nosuch', 'ready'], 'no such container: nosuch'],
    ['a rollback to nothing', ['rollback', 'web'], "missing required argument 'SNAPSHOT'\nSee 'tsvm rollback --help'."],
    ['a fork of a missing container', ['fork', '-n', '2', 'nosuch'], 'no such container: nosuch'],
    ['a fork of none', ['fork', '-n', '0', 'nosuch'], "invalid argument '0' for --number: expected 1 to 1000"],
    ['an option without its value', ['run', '-e'], "argument missing\nSee 'tsvm run --help'."],
    ['too many words', ['images', 'a', 'b'], 'too many arguments. Expected 1 argument but got 2.'],
    [
      'an unknown kernel',
      ['kernel', 'path', 'x'],
      "unknown kernel 'x': expected guest, lab, uml, debian, debian-generic, debian-uml, debian-pci, debian-lab",
    ],
    ['a kernel that is not built', ['kernel', 'path'], "the kernel 'guest' is not built, run: tsvm kernel build guest"],
    ['an unknown log level', ['--log-level', 'loud', 'images'], "argument 'loud' is invalid"],
    ['an unknown log format', ['images', '--log-format', 'xml'], "argument 'xml' is invalid"],
    ['an invalid timeout', ['stop', '-t', 'soon', 'x'], "invalid argument 'soon' for --timeout"],
    ['an invalid timeout by its old name', ['restart', '--time', '-1', 'x'], "invalid argument '-1' for --time"],
    ['an unknown signal', ['kill', '-s', 'FOO', 'x'], 'invalid signal: FOO'],
    ['an invalid time', ['logs', '--since', 'then', 'x'], "invalid argument 'then' for --since"],
    ['an invalid number of lines', ['logs', '-n', 'few', 'x'], "invalid argument 'few' for --tail"],
    ['invalid detach keys', ['attach', '--detach-keys', 'ab', 'x'], "invalid argument 'ab' for --detach-keys"],
    ['removing a missing image', ['rmi', 'nosuch'], 'nosuch'],
    ['a missing tar', ['import', '/nonexistent.tar', 'x'], '/nonexistent.tar'],
  ])('%s', (_, args, message) => {
    const { status, stdout, stderr } = tsvm(args);
    expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/^tsvm: [^\n]+\n(See 'tsvm[^\n]* --help'\.\n)?$/);
  });

  test.each<[string, string[], string]>([
    ['a value after =', ['-m=1M', 'x'], 'minimum memory limit allowed is 64MB'],
    ['no CPUs', ['--cpus', '0', 'x'], 'invalid number of CPUs 0'],
    ['a negative number of CPUs', ['--cpus', '-1', 'x'], 'invalid number of CPUs -1'],
    ['too small a part of a CPU', ['--cpus', '0.001', 'x'], 'invalid number of CPUs 0.001'],
    ['a pids limit that is not a number', ['--pids-limit', 'few', 'x'], "invalid argument 'few' for --pids-limit"],
    ['a pids limit below -1', ['--pids-limit', '-2', 'x'], 'invalid pids limit -2'],
    ['a ulimit without a value', ['--ulimit', 'nofile', 'x'], "invalid argument 'nofile' for --ulimit"],
    ['an unknown ulimit', ['--ulimit', 'files=1', 'x'], "invalid ulimit type 'files'"],
    ['a soft limit above the hard one', ['--ulimit', 'nofile=2:1', 'x'], 'is above the hard limit 1'],
    ['an unknown capability', ['--cap-add', 'FLY', 'x'], "invalid CapAdd: unknown capability: 'FLY'"],
    ['a missing seccomp profile', ['--security-opt', 'seccomp=/nope', 'x'], 'cannot read seccomp profile /nope'],
    ['a seccomp profile that is not JSON', ['--security-opt', 'seccomp=/etc/hosts', 'x'], 'seccomp profile: not JSON'],
    [
      'a disk rate that is not a size',
      ['--device-read-bps', '/dev/vda:fast', 'x'],
      "invalid argument 'fast' for --device-read",
    ],
    ['a disk rate of 0', ['--device-write-iops', '0', 'x'], "invalid argument '0' for --device-write-iops"],
    ['an unknown security option', ['--security-opt', 'x=y', 'x'], "invalid --security-opt 'x=y'"],
    ['a sysctl without a value', ['--sysctl', 'kernel.msgmax', 'x'], "invalid argument 'kernel.msgmax' for --sysctl"],
    ['an invalid sysctl', ['--sysctl', 'kernel=1', 'x'], "invalid sysctl 'kernel'"],
    ['a /dev/shm of 0 bytes', ['--shm-size', '0', 'x'], 'invalid size 0 of /dev/shm'],
    ['CPUs that are not a number', ['--cpus', 'all', 'x'], "invalid argument 'all' for --cpus"],
    ['too little memory', ['-m', '1M', 'x'], 'minimum memory limit allowed is 64MB'],
    ['memory that is not a size', ['-m', 'lots', 'x'], "invalid argument 'lots' for --memory"],
    ['an invalid duration', ['--timeout', 'soon', 'x'], "invalid argument 'soon' for --timeout"],
    [
      'an unknown accelerator',
      ['--accel', 'hvf', 'x'],
      "invalid argument 'hvf' for --accel: expected auto, kvm, tcg or uml",
    ],
    ['a working directory that is not absolute', ['-w', 'src', 'x'], "the working directory 'src' is invalid"],
    ['an invalid host name', ['--hostname', 'a b', 'x'], "invalid hostname 'a b'"],
    ['a variable without a name', ['-e', '=1', 'x'], "invalid environment variable: '=1'"],
    ['a missing env file', ['--env-file', '/nonexistent', 'x'], 'cannot read env file /nonexistent'],
    ['a tmpfs that is not absolute', ['--tmpfs', 'tmp', 'x'], "invalid argument 'tmp' for --tmpfs"],
    ['a missing folder', ['-v', '/nonexistent:/data', 'x'], 'bind source path does not exist: /nonexistent'],
    ['a device instead of a folder', ['-v', '/dev/null:/data', 'x'], 'bind source path is neither a folder nor a file'],
    ['a folder by a relative path', ['-v', './src:/data', 'x'], "the path on the host, './src', must be absolute"],
    ['a folder by a name with a slash', ['-v', 'a/b:/data', 'x'], "invalid volume name 'a/b'"],
    ['a mount at a relative path', ['-v', '/tmp:data', 'x'], "the path in the container, 'data', must be absolute"],
    ['a mount on the root', ['-v', '/tmp:/', 'x'], "invalid mount path '/'"],
    ['a mount through a parent', ['-v', '/tmp:/a/../b', 'x'], "invalid mount path '/a/../b'"],
    ['two mounts at one path', ['-v', '/tmp:/a', '--tmpfs', '/a/', 'x'], 'duplicate mount point: /a'],
    ['an unknown mount option', ['-v', '/tmp:/a:rx', 'x'], "unknown option 'rx'"],
    ['an unknown mount type', ['--mount', 'type=nfs,src=/a,dst=/b', 'x'], "unknown type 'nfs'"],
    ['-it without a terminal', ['-it', 'x'], 'the input device is not a TTY'],
    ['an unknown image', ['--pull', 'never', 'nosuch:tag'], 'nosuch:tag'],
    ['an invalid platform', ['--platform', 'linux/', 'x'], "invalid platform 'linux/'"],
    ['a platform of another machine', ['--platform', 'linux/arm64', 'x'], 'containers for linux/arm64 cannot run'],
    [
      'an unknown pull policy',
      ['--pull', 'often', 'x'],
      "invalid argument 'often' for --pull: expected missing, always or never",
    ],
    ['a network rule that is none', ['--allow-net', '10.0.0.0/33', 'x'], "invalid network rule '10.0.0.0/33'"],
    ['a published port that is none', ['-p', '80:', 'x'], "invalid published port '80:'"],
    ['a name server that is none', ['--dns', 'nobody', 'x'], "invalid name server 'nobody'"],
    ['two networks', ['--network', 'a1', '--network', 'b1', 'x'], '--network was given twice'],
    ['log files of 0 bytes', ['--log-opt', 'max-size=0', 'x'], "invalid argument 'max-size=0' for --log-opt"],
    ['a path that is not an image', [`oci:${'/etc'}`], '/etc'],
  ])('run with %s', (_, args, message) => {
    const { status, stdout, stderr } = run(...args);
    expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/^tsvm: [^\n]+\n(See 'tsvm run --help'\.\n)?$/);
  });

  test('run without a kernel', () => {
    const { status, stderr } = tsvm(['run', 'x']);
    expect({ status, stderr }).toEqual({
      status: 125,
      stderr:
        'tsvm: there is no guest kernel, run: tsvm kernel pull debian (a download), or: tsvm kernel build (some minutes)\n',
    });
  });

  test.each([
    [
      ['--accel', 'uml'],
      'there is no kernel of User-Mode Linux, run: tsvm kernel pull debian-uml (a download), or: tsvm kernel build uml (some minutes)',
    ],
    [['--kernel', 'uml'], "the kernel 'uml' is one of User-Mode Linux, which accelerator uml alone runs"],
    [['--kernel', 'debian-uml', '--accel', 'tcg'], "the kernel 'debian-uml' is one of User-Mode Linux, which"],
    [
      ['--accel', 'uml', '--kernel', 'guest'],
      "the kernel 'guest' is not one of User-Mode Linux, which accelerator uml runs: use debian-uml or uml",
    ],
    [['--accel', 'uml', '--kernel', 'uml'], "the kernel 'uml' is not there, run: tsvm kernel build uml"],
  ])('run without the kernel of the machine: %j', (words, message) => {
    const { status, stderr } = tsvm(['run', ...words, 'x']);
    expect({ status, stderr }).toEqual({ status: 125, stderr: expect.stringMatching(/^tsvm: [^\n]+\n$/) });
    expect(stderr).toContain(message);
  });

  test('run with a runtime folder that other users can enter', () => {
    const runtime = join(folder, 'open');
    mkdirSync(join(runtime, 'tsvm'), { recursive: true, mode: 0o755 });
    const { status, stderr } = tsvm(['run', '--kernel', TSVM, 'x'], { env: { XDG_RUNTIME_DIR: runtime } });
    expect({ status, stderr }).toEqual({ status: 125, stderr: expect.stringContaining('alone may enter') });
  });
});

describe('serve looks at the certificates of --placeholder-ca before all else:', () => {
  const serve = (file: string) => {
    const words = ['serve', '--data', join(folder, 'served'), '--listen', '127.0.0.1:0', '--placeholder-ca', file];
    return tsvm(words);
  };
  const damaged = `${rootCertificates[0]}\n${rootCertificates[1]?.replace('\nM', '\nA')}\n`;

  test.each([
    ['a file that is not there', undefined, 'ENOENT: no such file or directory'],
    ['a text', 'hello\n', 'it has no certificate (PEM)'],
    ['nothing', '', 'it has no certificate (PEM)'],
    ['a damaged one behind a good one', damaged, 'certificate 2 of it is damaged'],
    ['one that is cut off', rootCertificates[0]?.slice(0, 300), 'certificate 1 of it is damaged'],
  ])('%s is refused in one line', (_, text, why) => {
    const file = join(folder, 'ca.pem');
    rmSync(file, { force: true });
    if (text !== undefined) writeFileSync(file, text);
    const { status, stdout, stderr } = serve(file);
    expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
    expect(stderr).toMatch(/^tsvm: [^\n]+\n(See 'tsvm serve --help'\.\n)?$/);
    expect(stderr).toContain(`cannot use ${file} for --placeholder-ca: ${why}`);
    expect(existsSync(join(folder, 'served'))).toBe(false);
  });
});

test('with --log-format json an error is a JSON record', () => {
  const { status, stderr } = tsvm(['--log-format', 'json', 'rmi', 'nosuch']);
  expect(status).toBe(125);
  expect(JSON.parse(stderr)).toMatchObject({ level: 50, msg: expect.stringContaining('nosuch') });
});

test('an image is imported, listed and removed', () => {
  const archive = join(folder, 'root.tar');
  const { status, stdout } = tsvm(['import', '-c', 'CMD ["/hello"]', archive, 'hello:1']);
  expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/) });
  const id = stdout.slice(7, 19);

  expect(tsvm(['images']).stdout).toMatch(new RegExp(`^REPOSITORY +TAG +IMAGE ID +.*\\nhello +1 +${id} `));
  expect(tsvm(['images', '-q']).stdout).toBe(`${id}\n`);
  expect(tsvm(['images', '-q', 'hello:2']).stdout).toBe('');
  expect(JSON.parse(tsvm(['images', '--format', 'json', 'hello']).stdout)).toMatchObject({
    Repository: 'hello',
    Tag: '1',
    ID: id,
  });

  expect(tsvm(['rmi', 'hello:1']).stdout).toContain('Untagged: hello:1\n');
  expect(tsvm(['images', '-q']).stdout).toBe('');
});

test('an image is imported from stdin', () => {
  const input = execFileSync('cat', [join(folder, 'root.tar')]);
  expect(tsvm(['import', '-', 'piped'], { input }).status).toBe(0);
  expect(tsvm(['rmi', 'piped']).status).toBe(0);
});

test('doctor reports what the host has; its exit code tells whether containers can run', () => {
  const { status, stdout } = tsvm(['doctor', '--format', 'json']);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({
    ok: false,
    kvm: { usable: expect.any(Boolean), reason: expect.any(String) },
    kernel: { verdict: 'missing', advice: expect.stringContaining('run: tsvm kernel pull debian') },
    uml: { verdict: 'warning', advice: expect.stringContaining('tsvm kernel pull debian-uml') },
    home: { verdict: 'ok' },
  });
  expect(status).toBe(1);
  expect(tsvm(['doctor']).stdout).toMatch(
    /^missing {2}kernel {5}neither fetched nor built\n {20}run: tsvm kernel pull debian /m,
  );
});

test('a closed pipe is not reported as an error', () => {
  const { status, stderr } = spawnSync('bash', ['-c', `set -o pipefail; '${TSVM}' --help | true`], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 141, stderr: '' });
});

/** Runs the command as a release of Node.js would that says it is this one. */
function tsvmOn(release: string, ...words: string[]) {
  const preload = join(folder, 'release.cjs');
  writeFileSync(
    preload,
    `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${release}' } });
     Object.defineProperty(process, 'version', { value: 'v${release}' });`,
  );
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-r', preload, TSVM, ...words], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test.each(['0.12.18', '6.17.1', '19.9.0', '20.14.0', '21.7.3', '22.1.0'])(
  'Node.js %s is refused in one line',
  (release) => {
    expect(tsvmOn(release, 'ps')).toEqual({
      status: 125,
      stdout: '',
      stderr: `tsvm: Node.js 20.15, 22.2 or later is needed, and this is v${release}: https://nodejs.org\n`,
    });
    expect(tsvmOn(release, '--version')).toMatchObject({ status: 0, stderr: '' });
  },
);

test.each(['20.15.0', '22.2.0', '23.0.0', '100.0.0'])('Node.js %s is not', (release) => {
  expect(tsvmOn(release, 'version-of-nothing').stderr).toMatch(/is not a tsvm command/);
});

test('the command is read by releases of Node.js that are too old for the program', async () => {
  const source = readFileSync(TSVM, 'utf8');
  const read = (target: string) => transform(source, { target, minifyWhitespace: true });
  expect((await read('es2015')).code).toBe((await read('esnext')).code);
});

test('a program that is not built is one clear error', () => {
  const copy = join(folder, 'unbuilt');
  execFileSync('bash', ['-c', `mkdir -p '${copy}' && cp -r bin package.json '${copy}'`], { cwd: join(TSVM, '../..') });
  const { status, stderr } = spawnSync(join(copy, 'bin/tsvm'), ['images'], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 125, stderr: 'tsvm: not built: run npm run build\n' });
});

test('a command that waits for what never comes tells it, and does not exit with 0', () => {
  const preload = join(folder, 'silent.cjs');
  const silent = "require('node:http').request = () => new (require('node:events'))();\n";
  writeFileSync(preload, `${silent}require('node:events').prototype.end = () => {};\n`);
  const env = { TSVM_KEY: 'key', NODE_OPTIONS: `--require ${preload}` };
  expect(tsvm(['job', 'show', 'job-1'], { env })).toEqual({
    ...{ status: 125, stdout: '' },
    stderr: 'tsvm: internal error: what the command waits for never comes\n',
  });
});
