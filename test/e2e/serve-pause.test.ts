// Sandboxes of tsvm serve that are paused and go on, by the unmodified client of E2B and by /v1. On
// a host without KVM they are on the emulator, where their processors stand still.

import { setTimeout as sleep } from 'node:timers/promises';
import { Sandbox, SandboxNotFoundError, type SandboxOpts } from 'e2b';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Container } from '../../sandbox/containers/container.js';
import { freePort } from '../fixtures/free-port.js';
import { accelerator, DEBIAN, fastestProcessor, isLab, machines, run, TSVM } from './machine.js';
import { script } from './script.js';
import { Served } from './served.js';

const [machine] = fastestProcessor;
const keptIn = accelerator === 'kvm' ? 'disk' : 'memory';
const served = new Served(machine!);
let key: string;
let otherKey: string;

beforeAll(async () => {
  [key, otherKey] = [await served.tenant('acme'), await served.tenant('other')];
  // It has the port again after its death.
  await served.start({}, await freePort());
});

afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

const here = (apiKey = key) => ({ apiKey, apiUrl: served.url, sandboxUrl: served.url, retries: 0 });
const own = (options: SandboxOpts = {}) =>
  Sandbox.create(DEBIAN, { ...here(), allowInternetAccess: false, ...options });
const held = async () => (await served.call(key, 'GET', '', undefined, {}, 'tenant')).body;

test('a paused sandbox stands still, and goes on when it is connected to', async () => {
  const sandbox = await own({ timeoutMs: 1_000_000 });
  const { sandboxId } = sandbox;
  const ticks = 'while sleep 0.1; do echo tick >> /dev/shm/ticks; done';
  await sandbox.commands.run(`(${ticks}) > /dev/null 2>&1 &`);
  const count = async () => Number((await sandbox.commands.run('cat /dev/shm/ticks | wc -l')).stdout);
  while ((await count()) === 0) await sleep(100);
  expect(await sandbox.pause()).toBe(true);
  expect(await sandbox.pause()).toBe(false);
  expect((await sandbox.getInfo()).state).toBe('paused');
  expect(await sandbox.isRunning()).toBe(false);
  await expect(sandbox.commands.run('true')).rejects.toBeInstanceOf(SandboxNotFoundError);
  await expect(Sandbox.pause(sandboxId, here(otherKey))).rejects.toBeInstanceOf(SandboxNotFoundError);
  await expect(Sandbox.connect(sandboxId, here(otherKey))).rejects.toBeInstanceOf(SandboxNotFoundError);
  expect(await served.exec(key, sandboxId, ['true'])).toMatchObject({ status: 409, body: { code: 'not-running' } });
  const listed = async (state: ('running' | 'paused')[]) =>
    (await Sandbox.list({ ...here(), query: { state } }).nextItems()).map((each) => each.sandboxId);
  expect([await listed(['paused']), await listed(['running'])]).toEqual([[sandboxId], []]);
  const { state } = Container.find(served.home('acme'), sandboxId);
  expect(state.status).toBe(keptIn === 'disk' ? 'suspended' : 'paused');
  expect((await served.call(key, 'GET', `/${sandboxId}`)).body).toMatchObject({ status: 'paused', keptIn });
  expect(await held()).toMatchObject({
    held: { cpus: keptIn === 'disk' ? 0 : 1 },
    sandboxes: { paused: 1, running: 0 },
  });
  const again = await Sandbox.connect(sandboxId, { ...here(), timeoutMs: 2_000_000 });
  const info = await again.getInfo();
  expect([info.state, info.endAt.getTime() > Date.now() + 1_500_000]).toEqual(['running', true]);
  const before = await count();
  while ((await count()) === before) await sleep(100);
  expect(await sandbox.kill()).toBe(true);
});

test('one whose time is over is paused if it says so, over the death of the server too, and resumes on use', async () => {
  const sandbox = await own({ lifecycle: { onTimeout: 'pause', autoResume: true }, timeoutMs: 1_000_000 });
  const { sandboxId } = sandbox;
  await sandbox.files.write('/dev/shm/kept', 'kept');
  await sandbox.setTimeout(1000);
  const state = async () => (await Sandbox.getInfo(sandboxId, here())).state;
  const until = async (wanted: string) => {
    while ((await state()) !== wanted) await sleep(100);
  };
  const find = async () => (await served.call(key, 'GET', `/${sandboxId}`)).body;
  while ((await find()).status !== 'paused') await sleep(100);
  await served.end('SIGKILL');
  await served.start({}, Number(new URL(served.url).port));
  expect(await find()).toMatchObject({ status: 'paused', keptIn });
  // Two at once resume it once.
  const [text, { stdout }] = await Promise.all([sandbox.files.read('/dev/shm/kept'), sandbox.commands.run('echo on')]);
  expect([text, stdout]).toEqual(['kept', 'on\n']);
  await until('running');
  // One that has died while it stood still is told as that.
  expect(await Sandbox.pause(sandboxId, here())).toBe(true);
  const container = Container.find(served.home('acme'), sandboxId);
  if (keptIn === 'memory') {
    process.kill(container.state.machinePid!, 'SIGKILL');
    while ((await find()).status !== 'ended') await sleep(100);
    expect(await find()).toMatchObject({ reason: 'failed', error: 'its machine ended' });
  } else {
    expect(await Sandbox.kill(sandboxId, here())).toBe(true);
  }
  await expect(state()).rejects.toBeInstanceOf(SandboxNotFoundError);
  expect(served.left('acme')).toEqual([]);
});

test('one that is idle is paused, and one that is used is not', async () => {
  const id = await served.create(key, { idle: 10_000, lifetime: 3_600_000 });
  const status = async () => (await served.call(key, 'GET', `/${id}`)).body.status;
  const long = await served.exec(key, id, ['sleep', '12'], { timeout: 600_000 });
  expect(long.body).toMatchObject({ exitCode: 0 });
  while ((await status()) !== 'paused') await sleep(100);
  expect((await served.call(key, 'DELETE', `/${id}`)).status).toBe(204);
});

test('one is paused and resumed by words of the command line and by requests, each in its state', async () => {
  const id = await served.create(key, { lifetime: 3_600_000 });
  const status = async () => (await served.call(key, 'GET', `/${id}`)).body.status;
  const words = (...own: string[]) =>
    run(machine!, [TSVM, 'sandbox', ...own, id], { env: { TSVM_KEY: key, TSVM_SERVER: served.url } });
  const done = { code: 0, stdout: `${id}\n`, stderr: '' };
  const pause = async () => {
    expect(await words('pause')).toEqual(done);
    expect(await status()).toBe('paused');
  };
  await pause();
  expect(await words('resume', '--lifetime', '30m')).toEqual(done);
  expect(await status()).toBe('running');
  await pause();
  const resume = (body: object) => served.call(key, 'POST', `/${id}/resume`, body);
  expect((await resume({ lifetime: 1 })).status).toBe(400);
  expect(await resume({ lifetime: 3_600_000 })).toMatchObject({ status: 200, body: { status: 'running' } });
  expect(await resume({})).toMatchObject({ status: 409, body: { code: 'conflict' } });
  expect((await served.call(key, 'DELETE', `/${id}`)).status).toBe(204);
});

/**
 * Asks the server at the first argument with the key that is the second, and prints what it says.
 */
const ASKING = `
const [url, key] = process.argv.slice(1);
const headers = { Authorization: 'Bearer ' + key, 'Content-Type': 'application/json', Connection: 'close' };
const ask = async (method, path, body) => {
  const answer = await fetch(url + '/v1/' + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  return text === '' ? { code: answer.status } : JSON.parse(text);
};
const say = (...words) => console.log(words.join(' '));
const made = await ask('POST', 'sandboxes', { image: '${DEBIAN}', memory: ${128 * 2 ** 20} });
const own = 'sandboxes/' + made.id;
const exec = async (script) =>
  (await ask('POST', own + '/exec', { command: ['sh', '-c', script], timeout: 600_000 })).stdout?.trim();
const share = async () => {
  const { cpus, memory, disk } = (await ask('GET', 'tenant')).held;
  say('held', cpus, memory / 2 ** 20, disk / 2 ** 20);
};
say(made.status, made.detail ?? '');
await exec('(while sleep 0.2; do echo tick >> /dev/shm/ticks; done) > /dev/null 2>&1 & until test -s /dev/shm/ticks; do sleep 0.1; done');
await share();
const { status, keptIn, detail } = await ask('POST', own + '/pause');
say(status, keptIn, detail ?? '');
await share();
say((await ask('POST', own + '/exec', { command: ['true'] })).code);
const resumed = await ask('POST', own + '/resume', {});
say(resumed.status, resumed.detail ?? '');
await share();
const [before, after] = (await exec('wc -l < /dev/shm/ticks; sleep 2; wc -l < /dev/shm/ticks')).split('\\n');
say('ticks', Number(after) > Number(before));
say((await ask('POST', own + '/pause')).status, (await ask('DELETE', own)).code);
await share();
`;

test.each(machines.filter(isLab))('$name: what a paused sandbox on KVM does not use is free', async (lab) => {
  const said = await script(
    lab,
    `
    data=$(mktemp -d /tmp/serve-XXXXXX)
    key=$(tsvm tenant add --data $data acme)
    ln -s $TSVM_HOME/store-* $data/tenants/acme/
    "$TSVM" serve --data $data --listen 127.0.0.1:0 > $data/said 2> $data/faults &
    server=$!
    until grep -q listening $data/said; do sleep 0.2; done
    ${process.execPath} --input-type=module -e '${ASKING.replaceAll("'", '"')}' $(sed "s/listening on //" $data/said) $key
    kill $server; wait $server; cat $data/faults
    TSVM_HOME=$data/tenants/acme tsvm ps -aq; rm -r $data`,
  );
  expect(said.split('\n').map((line) => line.trim())).toEqual([
    'running',
    'held 1 128 1024',
    'paused disk',
    'held 0 0 1152',
    'not-running',
    'running',
    'held 1 128 1152',
    'ticks true',
    'paused 204',
    'held 0 0 0',
    '',
  ]);
});
