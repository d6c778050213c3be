// Each jail of root's has a user of its own as long as it lives, and a process of that user reaches
// nothing of another jail, of root or of the host's other users.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { LIBRARIES, option } from '../../../jail/launcher.js';
import { type JailReport, parseJailReport, whatIsMissing } from '../../../sandbox/jail-report.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const CFLAGS = ['-std=gnu11', '-D_GNU_SOURCE', '-static', '-O1', '-Wall', '-Wextra', '-Werror'];
/** A range of this test's own. */
const FIRST = 2_140_000_000 + process.pid * 4;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-users-');
  chmodSync(folder, 0o755);
  for (const name of ['exploit', 'refuse']) {
    execFileSync('gcc', [...CFLAGS, '-o', join(folder, name), join(here, `${name}.c`)]);
  }
  execFileSync('make', ['-s', '-C', join(here, '../../../jail'), `OUT=${folder}`]);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  for (let user = FIRST; user < FIRST + 4; user++) rmSync(`/run/tsvm/users/${user}`, { force: true });
});

interface Jail {
  launcher: ChildProcess;
  /** Of the program. */
  pid: number;
  report: JailReport;
}

const jails: Jail[] = [];
afterEach(async () => {
  for (const each of jails.splice(0)) {
    each.launcher.kill('SIGKILL');
    await gone(each.pid);
  }
});

const hasEnded = (pid: number) => {
  try {
    return /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return true;
  }
};
async function gone(pid: number): Promise<void> {
  while (!hasEnded(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
}

interface Options {
  users?: string;
  /** What the host refuses. */
  refused?: string;
  /** Words before the launcher. */
  prefix?: string[];
  program?: string[];
}

/** Starts a program in a jail, by default one that waits. */
async function jail({ users = `${FIRST}:2`, refused, prefix = [], program }: Options = {}): Promise<Jail> {
  const words = [...option('--report', [3]), ...option('--users', [users]), ...option('--read', LIBRARIES)];
  const shell = ['/usr/bin/sleep', '1000'];
  const command = [
    ...prefix,
    ...(refused === undefined ? [] : [join(folder, 'refuse'), refused]),
    ...[join(folder, 'tsvm-jail'), ...words, ...option('--read', ['/usr/bin', folder]), '--', ...(program ?? shell)],
  ];
  const launcher = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  let text = '';
  for await (const chunk of launcher.stdio[3] as NodeJS.ReadableStream) text += chunk;
  const { pid, jail: report } = parseJailReport(text);
  const started = { launcher, pid, report };
  jails.push(started);
  return started;
}

const status = (pid: number) => readFileSync(`/proc/${pid}/status`, 'latin1');

test('jails at the same time have different users, in all of their places, and none when all are taken', async () => {
  const [one, other, third] = [await jail(), await jail(), await jail()];
  expect([one, other, third].map(({ report }) => report.uid)).toEqual([FIRST, FIRST + 1, 0]);
  for (const { pid, report } of [one, other]) {
    expect(status(pid)).toMatch(new RegExp(`^Uid:(\t${report.uid}){4}\nGid:(\t${report.uid}){4}$`, 'm'));
    expect(status(pid)).toMatch(/^Groups:\t *$/m);
    expect(status(pid)).toMatch(/^CapPrm:\t0+$/m);
  }
  expect(third.report.noUser).toBe(`all 2 user IDs from ${FIRST} are in use`);
  expect(whatIsMissing({ ...third.report, seccomp: 'kill' }, 'QEMU')).toBe(
    `no user of its own (all 2 user IDs from ${FIRST} are in use)`,
  );
  expect(whatIsMissing({ ...one.report, seccomp: 'kill' }, 'QEMU')).toBeUndefined();
});

test.each([
  ['its launcher is killed', ({ launcher }: Jail) => launcher.kill('SIGKILL')],
  ['it is killed', ({ pid }: Jail) => process.kill(pid, 'SIGKILL')],
])('a user is free again once its jail has ended, because %s', async (_, kill) => {
  const first = await jail({ users: `${FIRST}:1` });
  expect(first.report.uid).toBe(FIRST);
  kill(first);
  await gone(first.pid);
  if (first.launcher.exitCode === null && first.launcher.signalCode === null) await once(first.launcher, 'exit');
  expect((await jail({ users: `${FIRST}:1` })).report.uid).toBe(FIRST);
});

test('a jail ends with its owner, killed before and after the program runs', async () => {
  const owner = `${join(folder, 'tsvm-jail')} "$@" 3>&1 & read -r line; kill -9 $$`;
  const words = [...option('--report', [3]), ...option('--users', [`${FIRST}:1`]), ...option('--read', LIBRARIES)];
  const shell = spawn('bash', ['-c', owner, 'bash', ...words, '--read', '/usr/bin', '--', '/usr/bin/sleep', '1000']);
  let text = '';
  for await (const chunk of shell.stdout) {
    text += chunk;
    if (text.endsWith('\n')) break;
  }
  const { pid, jail: report } = parseJailReport(text);
  expect(report.uid).toBe(FIRST);
  shell.stdin.write('go\n');
  await gone(pid);
  // The launcher holds the user a moment longer.
  let next: Jail;
  do next = await jail({ users: `${FIRST}:1` });
  while (next.report.uid !== FIRST);
});

test('a program that gives up its descriptor keeps its user', async () => {
  const close = 'for fd in 3 4 5 6 7 8 9; do eval "exec $fd<&-"; done; exec sleep 1000';
  const first = await jail({ users: `${FIRST}:1`, program: ['/usr/bin/dash', '-c', close] });
  while (readFileSync(`/proc/${first.pid}/comm`, 'latin1') !== 'sleep\n') await new Promise(setImmediate);
  expect((await jail({ users: `${FIRST}:1` })).report.uid).toBe(0);
});

test.each(['namespaces', 'mounts', 'landlock'])(
  'where the host refuses %s, a jail has a user of its own',
  async (refused) => {
    const { pid, report } = await jail({ refused });
    expect(report).toMatchObject({ uid: FIRST, noNamespaces: expect.any(String) });
    expect(status(pid)).toMatch(new RegExp(`^Uid:(\t${FIRST}){4}$`, 'm'));
    expect(status(pid)).toMatch(/^CapPrm:\t0+$/m);
  },
);

describe('without a user of its own a jail says why', () => {
  test('where this host does not have that user', async () => {
    const { report } = await jail({ prefix: ['unshare', '--user', '--map-root-user'] });
    const noUser = expect.stringMatching(/^user \d+: (Invalid argument|Operation not permitted)$/);
    expect(report).toMatchObject({ uid: 0, noUser });
  });

  test('where others may not read the program', async () => {
    const own = join(folder, 'closed');
    mkdirSync(own, { mode: 0o700 });
    execFileSync('cp', ['/usr/bin/sleep', own]);
    const { report } = await jail({ program: [join(own, 'sleep'), '1000'] });
    expect(report).toMatchObject({ uid: 0, noUser: `other users may not read ${join(own, 'sleep')}` });
  });

  test('where the folder of the users is not root’s', async () => {
    const script = 'mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/tsvm && chown 12345 /run/tsvm && exec "$@"';
    const prefix = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh'];
    const { report } = await jail({ prefix });
    expect(report).toMatchObject({ uid: 0, noUser: '/run/tsvm: Operation not permitted' });
  });

  test('where /run cannot be written', async () => {
    const script = 'mount -t tmpfs -o ro tmpfs /run && exec "$@"';
    const prefix = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh'];
    const { report } = await jail({ prefix });
    expect(report).toMatchObject({ uid: 0, noUser: '/run/tsvm: Read-only file system' });
  });
});

test('a process of the user of one jail, outside of all jails, reaches nothing of another', async () => {
  const [mine, other] = [await jail(), await jail()];
  const own = join(folder, 'sockets');
  mkdirSync(own, { mode: 0o710 });
  execFileSync('chown', [`0:${other.report.uid}`, own]);
  const server = createServer().listen({ path: join(own, 'socket'), writableAll: true });
  await once(server, 'listening');
  writeFileSync(join(own, 'secret'), 'a secret');
  const reach = (user: number) => {
    const words = [`${other.pid}`, '1', 'none', join(own, 'socket'), own];
    const as = ['--reuid', `${user}`, '--regid', `${user}`, '--clear-groups'];
    const text = execFileSync('setpriv', [...as, join(folder, 'exploit'), ...words], { encoding: 'utf8' });
    const found = Object.fromEntries(
      text
        .trim()
        .split('\n')
        .map((line) => line.split(' ')),
    );
    const what = ['owner-files', 'owner-memory', 'signal-owner', 'trace-owner', 'path-socket', 'list-folder'];
    return what.filter((name) => found[name] === 'yes');
  };
  expect(reach(mine.report.uid!)).toEqual([]);
  // It is the user that decides: the other's own may connect, and signal it.
  expect(reach(other.report.uid!)).toEqual(expect.arrayContaining(['signal-owner', 'path-socket']));
  server.close();
});
