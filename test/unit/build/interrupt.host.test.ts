// A build that is ended at any instant leaves a store in which the next one builds the same image:
// by kill -9, by a signal that it answers, and by a disk that is full.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Home } from '../../../sandbox/index.js';
import { finished } from '../images/bundle.js';
import { Workshop } from './made.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const KILLS = 30;
const DOCKERFILE = 'FROM scratch\nCOPY a /a\nWORKDIR /w\nCOPY d /d\nADD a d/c /e/\n';

let shop: Workshop;

beforeAll(() => {
  shop = new Workshop();
  shop.write({ a: 'A', 'd/b': 'B'.repeat(4 << 20), 'd/c': 'C', Dockerfile: DOCKERFILE });
});

afterAll(() => shop[Symbol.dispose]());

function start(home: string, prefix: readonly string[] = [], options: readonly string[] = [], more = {}) {
  const [program = '', ...words] = [...prefix, TSVM, 'build', '-t', 'made', ...options, shop.context];
  const env = { ...process.env, TSVM_HOME: home, SOURCE_DATE_EPOCH: '1', ...more };
  return spawn(program, words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

const store = (home: string, folder: string) => readdirSync(join(home, 'store-2', folder)).sort();

test('kill -9', async () => {
  const whole = join(shop.folder, 'whole');
  const began = performance.now();
  const { code, stdout: id } = await finished(start(whole));
  const time = performance.now() - began;
  expect(code).toBe(0);
  const home = join(shop.folder, 'killed');
  for (let kill = 0; kill < KILLS; kill++) {
    const child = start(home);
    const end = finished(child);
    await sleep(time * (0.2 + 0.8 * Math.random()));
    child.kill('SIGKILL');
    await end;
  }
  expect(await finished(start(home))).toMatchObject({ code: 0, stdout: id });
  expect(store(home, 'layers')).toEqual(store(whole, 'layers'));
  expect(store(home, 'tmp')).toEqual([]);
  expect(await new Home(home, join(shop.folder, 'run')).images.list()).toHaveLength(1);
});

test.each<[NodeJS.Signals, number]>([
  ['SIGINT', 130],
  ['SIGTERM', 143],
])('%s', async (signal, code) => {
  const home = join(shop.folder, signal);
  // A download without an end keeps the build where it is.
  const server = createServer(() => {});
  const asked = once(server, 'request');
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const settings = join(shop.folder, 'registries.json');
  writeFileSync(settings, JSON.stringify({ [`127.0.0.1:${port}`]: { internal: true } }));
  const file = join(shop.folder, 'Dockerfile');
  writeFileSync(file, `${DOCKERFILE}ADD http://127.0.0.1:${port}/f /f\n`);
  const child = start(home, [], ['-f', file], { TSVM_REGISTRIES: settings });
  const end = finished(child);
  await asked;
  child.kill(signal);
  const { code: ended, stdout, stderr } = await end;
  server.closeAllConnections();
  server.close();
  expect({ ended, stdout }).toEqual({ ended: code, stdout: '' });
  expect(stderr.trimEnd().split('\n').at(-1)).toBe(`tsvm: ended by ${signal}`);
  expect(store(home, 'tmp')).toEqual([]);
  expect(await new Home(home, join(shop.folder, 'run')).images.list()).toEqual([]);
  expect((await finished(start(home))).code).toBe(0);
});

test('a full disk', async () => {
  const home = join(shop.folder, 'small');
  // The file system is seen by these processes alone.
  const script = `mkdir "$TSVM_HOME" && mount -t tmpfs -o size=3m none "$TSVM_HOME" && { "$@"; echo "code $?"
    ls "$TSVM_HOME/store-2/tmp"; mount -o remount,size=64m "$TSVM_HOME"; "$@"; }`;
  const ended = await finished(start(home, ['unshare', '--mount', 'sh', '-c', script, 'sh']));
  const failures = ended.stderr.split('\n').filter((line) => line.startsWith('tsvm: '));
  expect(failures).toEqual([expect.stringMatching(/^tsvm: cannot keep the layer of a build: .*no space left/)]);
  expect(ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^code 125\nsha256:[0-9a-f]{64}\n$/) });
});
