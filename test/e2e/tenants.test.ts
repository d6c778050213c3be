// A hostile tenant takes all that it can of each resource of the host. What it gets stays within the
// bounds that docs/limits.md states, and another tenant's container answers meanwhile.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Container } from '../../sandbox/containers/container.js';
import { defer } from '../../sandbox/deferred.js';
import { buildPrograms } from '../fixtures/tenants/programs.js';
import { startServer } from '../fixtures/tenants/server.js';
import { BOUNDS, hostileOptions, STORMS, VOLUME } from '../fixtures/tenants/storms.js';
import { execIn, Tenant } from '../fixtures/tenants/tenant.js';
import type { Totals } from '../fixtures/tenants/totals.js';
import { accelerator, DEBIAN } from './machine.js';

const SOURCES = fileURLToPath(new URL('../fixtures/tenants/', import.meta.url));
/** Characters of a storm's output that are kept. */
const SAID = 1000;
/** The fork bomb leaves no room for another process. */
const LAST = 'processes';

/** Ends all processes of a container but its first one, and frees the disks. */
const CLEAN = 'kill -9 -1; rm -rf /data/* /fill /files';

let programs: string;
let hostile: Tenant;
let other: Tenant;
let server: Disposable & { port: number };
let container: Container;
let neighbour: Container;

beforeAll(async () => {
  programs = mkdtempSync(join(tmpdir(), 'tsvm-tenants-'));
  const mounts = buildPrograms(SOURCES, programs);
  [hostile, other] = [new Tenant(), new Tenant()];
  server = await startServer();
  hostile.tsvm('volume', 'create', '--size', String(VOLUME.size), '--inodes', String(VOLUME.inodes), 'data');
  const machine = ['--accel', accelerator];
  const bounded = [...hostileOptions(server.port, 'data'), ...mounts];
  container = hostile.container(hostile.tsvm('run', '-d', ...machine, ...bounded, DEBIAN, 'sleep', '100000'));
  neighbour = other.container(other.tsvm('run', '-d', ...machine, '--network', 'none', DEBIAN, 'sleep', '100000'));
});

afterAll(() => {
  for (const each of [server, hostile, other]) each[Symbol.dispose]();
  rmSync(programs, { recursive: true });
});

/** Resolves when a storm has taken all that it takes, or has ended. */
async function startStorm(command: readonly string[]): Promise<void> {
  const storming = defer<void>();
  let said = '';
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      said = `${said}${chunk}`.slice(-SAID);
      if (said.includes('storming')) storming.resolve();
      done();
    },
  });
  const { exit } = await container.exec({ command }, { stdout, stderr: stdout });
  exit.then((code) => storming.reject(new Error(`exit code ${code}: ${said}`)), storming.reject);
  await storming.promise;
}

test.each(STORMS)('a storm of $name stays within its bounds, and a neighbour answers', async ({ name, words }) => {
  const storm = ['/storm', ...words(server.port)];
  if (name === 'log') {
    // The log is that of the first process.
    await startStorm(['sh', '-c', `echo storming; exec ${storm.join(' ')} > /proc/1/fd/1`]);
    while (!existsSync(`${container.logPath}.2`)) await sleep(100);
  } else await startStorm(storm);
  const [totals, answer] = [hostile.totals(container), await execIn(neighbour, 'echo', 'answers')];
  expect({ answer, above: namesAbove(totals) }).toEqual({ answer: 'answers\n', above: [] });
  if (name !== LAST) await execIn(container, 'sh', '-c', CLEAN);
});

function namesAbove(totals: Totals): string[] {
  const names = Object.keys(BOUNDS) as (keyof Totals)[];
  return names.filter((name) => totals[name] > BOUNDS[name]).map((name) => `${name}: ${totals[name]}`);
}
