// The unmodified client of E2B from npm against tsvm serve, with real machines.
import { mkdtempSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AuthenticationError,
  CommandExitError,
  FileNotFoundError,
  InvalidArgumentError,
  RateLimitError,
  Sandbox,
  SandboxNotFoundError,
  type SandboxOpts,
  TimeoutError,
} from 'e2b';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Container } from '../../sandbox/containers/container.js';
import { Home } from '../../sandbox/home/home.js';
import { DEBIAN, type RunningCommand, readUntil, run, TSVM, uml } from './machine.js';
import { linkStores } from './own-home.js';

const data = mkdtempSync('/var/tmp/tsvm-e2b-');
let server: RunningCommand;
let url: string;
let key: string;
let otherKey: string;

async function addTenant(name: string): Promise<string> {
  const { stdout } = await run(uml, [TSVM, 'tenant', 'add', '--data', data, '--cpus', '8', name]);
  linkStores(`${data}/tenants/${name}`);
  return stdout.trim();
}

async function start(): Promise<void> {
  const words = ['--data', data, '--listen', '127.0.0.1:0', '--cpus', '64', '--template', `base=${DEBIAN}`];
  server = uml.spawn([TSVM, 'serve', ...words], { env: { TSVM_HOME: `${data}/none` } });
  url = (await readUntil(server.stdout, '\n')).replace('listening on ', '').trim();
}

/** What the client is told of this server, and nothing else. */
const here = (apiKey = key) => ({ apiKey, apiUrl: url, sandboxUrl: url, retries: 0 });

/** A sandbox of the default template, which ends with its block. */
async function own(options: SandboxOpts = {}): Promise<Sandbox & AsyncDisposable> {
  const sandbox = await Sandbox.create({ ...here(), ...options });
  return Object.assign(sandbox, {
    [Symbol.asyncDispose]: async () => void (await Sandbox.kill(sandbox.sandboxId, here())),
  });
}

beforeAll(async () => {
  [key, otherKey] = [await addTenant('acme'), await addTenant('other')];
  await start();
});

afterAll(async () => {
  server.kill('SIGTERM');
  await server.exit;
  for (const tenant of ['acme', 'other']) {
    const home = new Home(`${data}/tenants/${tenant}`);
    for (const { config } of Container.list(home)) await Container.find(home, config.id).remove({ force: true });
  }
  rmSync(data, { recursive: true });
});

test('a sandbox of the default template runs commands until it is killed', async () => {
  const sandbox = await Sandbox.create({ ...here(), envs: { NAME: 'it' }, metadata: { of: 'me' } });
  const said: string[] = [];
  const result = await sandbox.commands.run('echo "$NAME $HOW"; pwd; id -u; echo no >&2', {
    ...{ envs: { HOW: 'is' }, cwd: '/usr', user: '1000' },
    onStdout: (text) => void said.push(text),
  });
  expect(result).toMatchObject({ exitCode: 0, stdout: 'it is\n/usr\n1000\n', stderr: 'no\n' });
  expect(said.join('')).toBe(result.stdout);
  const failed = await sandbox.commands.run('echo out; exit 3').catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(CommandExitError);
  expect(failed).toMatchObject({ exitCode: 3, stdout: 'out\n' });
  expect(await sandbox.isRunning()).toBe(true);
  expect(await sandbox.kill()).toBe(true);
  expect(await sandbox.isRunning()).toBe(false);
  expect(await sandbox.kill()).toBe(false);
  await expect(sandbox.commands.run('true')).rejects.toBeInstanceOf(SandboxNotFoundError);
});

test('another tenant, a wrong key and a wrong token get what there is not', async () => {
  await using sandbox = await own();
  const { sandboxId } = sandbox;
  for (const id of [sandboxId, 'sb-0000000000000000']) {
    await expect(Sandbox.connect(id, here(otherKey))).rejects.toBeInstanceOf(SandboxNotFoundError);
    await expect(Sandbox.getInfo(id, here(otherKey))).rejects.toBeInstanceOf(SandboxNotFoundError);
    await expect(Sandbox.setTimeout(id, 1000, here(otherKey))).rejects.toBeInstanceOf(SandboxNotFoundError);
    await expect(Sandbox.pause(id, here(otherKey))).rejects.toBeInstanceOf(SandboxNotFoundError);
    expect(await Sandbox.kill(id, here(otherKey))).toBe(false);
    const answer = await fetch(`${url}/health`, { headers: { 'E2b-Sandbox-Id': id, 'X-Access-Token': 'wrong' } });
    expect([answer.status, await answer.text()]).toEqual([502, '{"code":502,"message":"the sandbox was not found"}']);
  }
  expect(await Sandbox.list(here(otherKey)).nextItems()).toEqual([]);
  await expect(Sandbox.create(here('tsvm_wrong'))).rejects.toBeInstanceOf(AuthenticationError);
  expect((await sandbox.commands.run('echo here')).stdout).toBe('here\n');
});

test('what this server cannot do is refused, and a share that is used up is a rate limit', async () => {
  await using sandbox = await own();
  await expect(sandbox.fork()).rejects.toThrow('400: a sandbox that is not on KVM has no snapshots');
  await expect(sandbox.pause()).rejects.toThrow('400: a sandbox on User-Mode Linux cannot be paused');
  await expect(sandbox.pause({ keepMemory: false })).rejects.toThrow('paused with its memory alone');
  await expect(own({ lifecycle: { onTimeout: 'pause' } })).rejects.toThrow('cannot be paused');
  expect((await Sandbox.list(here()).nextItems()).map((each) => each.sandboxId)).toEqual([sandbox.sandboxId]);
  await expect(own({ network: { denyOut: ['0.0.0.0/0'] } })).rejects.toThrow('400: body: Unrecognized key: "network"');
  await expect(Sandbox.create('nothing', here())).rejects.toThrow('400: no such image');
  await run(uml, [TSVM, 'tenant', 'set', '--data', data, '--sandboxes', '1', 'acme']);
  await expect(own()).rejects.toBeInstanceOf(RateLimitError);
  await run(uml, [TSVM, 'tenant', 'set', '--data', data, '--sandboxes', '10', 'acme']);
});

test('a sandbox is found, listed by its metadata, and given another lifetime', async () => {
  await using sandbox = await own({ metadata: { of: 'two words', 'a&b': '=' }, timeoutMs: 100_000 });
  await using _other = await own({ metadata: { of: 'other' } });
  const { sandboxId } = sandbox;
  const info = await sandbox.getInfo();
  expect(info).toMatchObject({ sandboxId, templateId: DEBIAN, state: 'running', allowInternetAccess: true });
  expect(info.endAt.getTime() - info.startedAt.getTime()).toBe(100_000);
  const found = await Sandbox.list({ ...here(), query: { metadata: { of: 'two words', 'a&b': '=' } } }).nextItems();
  expect(found.map((each) => each.sandboxId)).toEqual([sandboxId]);
  const pages = Sandbox.list({ ...here(), limit: 1 });
  const all = [...(await pages.nextItems()), ...(await pages.nextItems())];
  expect([all.length, pages.hasNext]).toEqual([2, false]);
  // One that is shorter counts for `setTimeout` alone.
  await Sandbox.connect(sandboxId, { ...here(), timeoutMs: 1000 });
  expect((await sandbox.getInfo()).endAt).toEqual(info.endAt);
  const again = await Sandbox.connect(sandboxId, { ...here(), timeoutMs: 200_000 });
  expect((await again.getInfo()).endAt.getTime()).toBeGreaterThan(info.endAt.getTime());
  expect((await again.commands.run('echo again')).stdout).toBe('again\n');
  await sandbox.setTimeout(1000);
  while (await sandbox.isRunning()) await sleep(100);
  await expect(sandbox.getInfo()).rejects.toBeInstanceOf(SandboxNotFoundError);
});

test('a command in the background is followed, fed and ended by its number', async () => {
  await using sandbox = await own();
  const cat = await sandbox.commands.run('cat; echo done', { background: true, stdin: true });
  await cat.sendStdin('one\n');
  while (cat.stdout !== 'one\n') await sleep(20);
  const [listed] = await sandbox.commands.list();
  expect(listed).toMatchObject({ pid: cat.pid, cmd: '/bin/bash', args: ['-l', '-c', 'cat; echo done'] });
  const second = await sandbox.commands.connect(cat.pid);
  await sandbox.commands.sendStdin(cat.pid, 'two\n');
  await sandbox.commands.closeStdin(cat.pid);
  expect(await cat.wait()).toMatchObject({ exitCode: 0, stdout: 'one\ntwo\ndone\n' });
  expect(await second.wait()).toMatchObject({ stdout: 'two\ndone\n' });
  const long = await sandbox.commands.run('echo begun; exec sleep 1001', { background: true, timeoutMs: 0 });
  while (long.stdout !== 'begun\n') await sleep(20);
  // It goes on without its caller.
  await long.disconnect();
  expect((await sandbox.commands.list()).map(({ pid }) => pid)).toEqual([long.pid]);
  expect(await sandbox.commands.kill(long.pid)).toBe(true);
  while ((await sandbox.commands.list()).length > 0) await sleep(20);
  expect(await sandbox.commands.kill(long.pid)).toBe(false);
  const slow = sandbox.commands.run('echo begun; exec sleep 1002', { timeoutMs: 1000 });
  await expect(slow).rejects.toBeInstanceOf(TimeoutError);
  while ((await sandbox.commands.list()).length > 0) await sleep(20);
});

test('an output that is read late arrives whole', async () => {
  await using sandbox = await own();
  let size = 0;
  const { exitCode } = await sandbox.commands.run('head -c 5000000 /dev/zero | tr "\\0" x', {
    onStdout: async (text) => {
      if (size === 0) await sleep(500);
      size += text.length;
    },
  });
  expect([exitCode, size]).toEqual([0, 5_000_000]);
});

test('a terminal has its size, changes it, takes keys, and is followed and killed', async () => {
  await using sandbox = await own();
  let said = '';
  const seen = async (text: string) => {
    while (!said.includes(text)) await sleep(20);
  };
  const onData = (bytes: Uint8Array) => {
    said += Buffer.from(bytes).toString('latin1');
  };
  const terminal = await sandbox.pty.create({ cols: 91, rows: 17, onData, timeoutMs: 0, envs: { TERM: 'xterm' } });
  const type = (text: string) => sandbox.pty.sendInput(terminal.pid, Buffer.from(text));
  await type('stty size; tty\n');
  await seen('17 91\r\n/dev/');
  await sandbox.pty.resize(terminal.pid, { cols: 120, rows: 40 });
  // Sizes and keys go different ways.
  for (let n = 0; !said.includes('40 120\r\n'); n++) {
    await type(`stty size; echo $((${n} + 1000))\n`);
    await seen(`${n + 1000}\r\n`);
  }
  const second = await sandbox.pty.connect(terminal.pid);
  await type('exit 3\n');
  for (const each of [terminal, second]) {
    await expect(each.wait()).rejects.toMatchObject({ exitCode: 3 });
  }
  const killed = await sandbox.pty.create({ cols: 80, rows: 24, onData, timeoutMs: 0 });
  expect(await sandbox.pty.kill(killed.pid)).toBe(true);
  await expect(killed.wait()).rejects.toMatchObject({ exitCode: 137 });
});

test('a server that is killed finds its sandboxes and their tokens again', async () => {
  await using sandbox = await own();
  server.kill('SIGKILL');
  await server.exit;
  const before = url;
  await start();
  const again = await Sandbox.connect(sandbox.sandboxId, here());
  expect(url).not.toBe(before);
  expect((await again.commands.run('echo again')).stdout).toBe('again\n');
  expect(await again.kill()).toBe(true);
});

test('files go in and out, are listed, moved and removed', async () => {
  await using sandbox = await own();
  const { files } = sandbox;
  const bytes = Uint8Array.from({ length: 100_000 }, (_, n) => n % 256);
  expect(await files.write('/srv/deep/text', 'wörd\n')).toMatchObject({ name: 'text', path: '/srv/deep/text' });
  await files.write('/srv/bytes', new Blob([bytes]));
  await files.write('/srv/streamed', new Blob([bytes]).stream());
  await files.write('/srv/packed', new Blob([bytes]), { gzip: true });
  await files.write([
    { path: '/srv/many/1', data: 'one' },
    { path: 'many/2', data: '' },
  ]);
  expect(await files.read('/srv/deep/text')).toBe('wörd\n');
  for (const name of ['bytes', 'streamed', 'packed']) {
    expect(Buffer.from(await files.read(`/srv/${name}`, { format: 'bytes' })).equals(bytes)).toBe(true);
  }
  expect(await files.read('/srv/many/1')).toBe('one');
  // A relative path starts where commands do.
  expect((await sandbox.commands.run('stat -c %s many/2')).stdout).toBe('0\n');
  expect(await files.read('many/2')).toBe('');
  await files.write('/tmp/of-user', 'x', { user: '1000' });
  expect((await sandbox.commands.run('stat -c %u /tmp/of-user')).stdout).toBe('1000\n');
  await expect(files.write('/root/of-user', 'x', { user: '1000' })).rejects.toBeInstanceOf(InvalidArgumentError);
  await sandbox.commands.run('ln -s deep/text /srv/link && chmod 640 /srv/bytes');
  const listed = await files.list('/srv', { depth: 2 });
  expect(listed.map(({ path }) => path).sort()).toEqual(
    ['bytes', 'deep', 'deep/text', 'link', 'many', 'many/1', 'packed', 'streamed'].map((name) => `/srv/${name}`),
  );
  expect(await files.getInfo('/srv/bytes')).toMatchObject({
    ...{ name: 'bytes', type: 'file', size: 100_000, mode: 0o640, permissions: '-rw-r-----', owner: 'root' },
  });
  expect(await files.getInfo('/srv/link')).toMatchObject({ type: 'file', symlinkTarget: '/srv/deep/text', size: 6 });
  expect([await files.makeDir('/srv/new/er'), await files.makeDir('/srv/new/er')]).toEqual([true, false]);
  expect(await files.rename('/srv/bytes', '/srv/moved to/it')).toMatchObject({ path: '/srv/moved to/it' });
  expect([await files.exists('/srv/bytes'), await files.exists('/srv/moved to/it')]).toEqual([false, true]);
  await files.remove('/srv/new');
  expect(await files.exists('/srv/new')).toBe(false);
  await expect(files.read('/srv/new')).rejects.toBeInstanceOf(FileNotFoundError);
  await expect(files.getInfo('/srv/new')).rejects.toBeInstanceOf(FileNotFoundError);
  await expect(files.rename('/srv/new', '/srv/old')).rejects.toBeInstanceOf(FileNotFoundError);
  await expect(files.read('/srv')).rejects.toBeInstanceOf(InvalidArgumentError);
  await expect(files.list('/srv/packed')).rejects.toBeInstanceOf(InvalidArgumentError);
});
