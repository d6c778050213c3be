// The unmodified client of E2B from npm against tsvm serve, with real machines.
import { mkdtempSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AuthenticationError,
  CommandExitError,
  RateLimitError,
  Sandbox,
  SandboxNotFoundError,
  type SandboxOpts,
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
  return Object.assign(sandbox, { [Symbol.asyncDispose]: async () => void (await sandbox.kill()) });
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
  await expect(sandbox.pause()).rejects.toThrow('400: this server has no pause of sandboxes');
  await expect(own({ lifecycle: { onTimeout: 'pause' } })).rejects.toThrow('cannot be paused');
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
