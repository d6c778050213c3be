// Jobs of one tenant attack the host and its neighbours with all that a hostile one can do. Another
// tenant's jobs and sandbox go on beside them, with the right results, and wait for the end of
// none. Nothing of the attacks reaches another, and nothing of them is left.
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Container } from '../../sandbox/containers/container.js';
import { buildPrograms } from '../fixtures/tenants/programs.js';
import { BOUNDS, DISK, HOST, MEMORY, STORMS } from '../fixtures/tenants/storms.js';
import { totalsOf } from '../fixtures/tenants/totals.js';
import { DEBIAN, uml } from './machine.js';
import { Served } from './served.js';
import { heldByProcesses } from './service-processes.js';

const SOURCES = fileURLToPath(new URL('../fixtures/tenants/', import.meta.url));
/** Attacks at one time: CPUs of the hostile tenant, of which each has one. */
const AT_ONCE = 5;
const MIB = 2 ** 20;
/** MiB of a job's log, of the events of a home, and of the journal of a disk. */
const [LOG, EVENTS, JOURNAL] = [6, 3, 1];
/** In the other tenant's sandbox, and nowhere else. */
const MARK = 'the neighbour has this for itself';

/**
 * Signals to all processes that it sees, itself and the first one excepted. It complains each time
 * that there is none: with that, its first line would be too old to be kept.
 */
const KILLS = 'while :; do for each in STOP CONT TERM KILL; do kill -$each -1; done; sleep 0.01; done';
const SIGNALS = `exec 2> /dev/null; echo storming; ${KILLS}`;

interface Attack {
  name: string;
  command: string[];
}

/** The storms that need no option of a container, which jobs do not have. */
function attacks(port: number): Attack[] {
  const storms = STORMS.filter(({ needs }) => needs === undefined);
  return [
    ...storms.map(({ name, words }) => ({ name, command: ['/storm', ...words(port)] })),
    { name: 'signals', command: ['sh', '-c', SIGNALS] },
  ];
}

/** The programs of the attacks, as a job's `files`. */
function archiveOfPrograms(): { base64: string } {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-storms-'));
  buildPrograms(SOURCES, folder);
  const archive = execFileSync('tar', ['-c', '-C', folder, 'storm', '-C', SOURCES, 'reach.pl']);
  rmSync(folder, { recursive: true });
  return { base64: archive.toString('base64') };
}

/** Takes connections and datagrams at one port of all addresses of the host, and counts them. */
async function listener(): Promise<AsyncDisposable & { port: number; counted: () => number }> {
  let count = 0;
  const connections = createServer((socket) => {
    count++;
    socket.destroy();
  }).listen(0, '::');
  await once(connections, 'listening');
  const { port } = connections.address() as AddressInfo;
  const datagrams = createSocket('udp6', () => count++).bind(port, '::');
  await once(datagrams, 'listening');
  return {
    port,
    counted: () => count,
    async [Symbol.asyncDispose]() {
      datagrams.close();
      connections.close();
      await once(connections, 'close');
    },
  };
}

/** Addresses that may lead out of a machine: its own, those of its network, those of the host. */
function addresses(): string[] {
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const ofHost = own.filter(({ scopeid }) => !scopeid).map(({ address }) => address);
  return [...new Set([HOST, '198.19.0.3', '198.19.0.4', 'fd74:7376:6d::1', '169.254.169.254', '0.0.0.0', ...ofHost])];
}

/** Resolves when an attack has taken all that it takes once. */
async function storming(served: Served, key: string, { name, id }: { name: string; id: string }): Promise<void> {
  await served.jobThatIs(key, id, 'running');
  const { logPath } = Container.find(served.home('hostile'), `${id}-1`);
  const isStorming = async () =>
    name === 'log'
      ? existsSync(`${logPath}.2`)
      : (await served.output(key, id)).some(({ log }) => log.includes('storming'));
  while (!(await isStorming())) {
    const { status } = await served.job(key, id);
    if (status !== 'running') throw new Error(`${name}: ${JSON.stringify(await served.output(key, id))}`);
    await sleep(100);
  }
}

test('jobs that attack with all storms reach nobody, and a neighbour waits for none of them', async () => {
  await using host = await listener();
  await using served = new Served(uml);
  const hostile = await served.tenant('hostile', ['--cpus', String(AT_ONCE), '--rate', 'none']);
  const other = await served.tenant('other', ['--rate', 'none']);
  await served.start({}, 0, ['--cpus', String(AT_ONCE + 2)]);
  const files = archiveOfPrograms();

  // The neighbour: a sandbox with a file and a program that listens.
  const sandbox = await served.create(other, { env: { MARK } });
  const begin = 'echo "$MARK" > /root/mark; (exec sleep 100000) > /dev/null 2>&1 & echo $! > /root/pid';
  expect((await served.exec(other, sandbox, ['sh', '-c', begin])).body).toMatchObject({ exitCode: 0 });

  // All attacks at once: as many run as the share holds, the others are in the queue.
  const all = attacks(host.port);
  const shape = { image: DEBIAN, memory: MEMORY, disk: DISK, network: 'public', files };
  const jobs = all.map(({ command }) => ({ ...shape, command }));
  const { body } = await served.call(hostile, 'POST', '/batch', { jobs }, {}, 'jobs');
  const waiting = body.jobs.map(({ id }, n) => ({ id, name: all[n]?.name ?? '' }));
  const [kram, port] = [[...MARK].reverse().join(''), new URL(served.url).port];
  const lists = [[host.port, port], addresses(), [served.data, served.home('other').path, import.meta.dirname]];
  const reach = ['perl', '/reach.pl', kram, ...lists.map((words) => words.join(','))];

  for (let turn = 0; waiting.length > 0; turn++) {
    const storms = waiting.splice(0, AT_ONCE);
    for (const each of storms) await storming(served, hostile, each);
    // Each job of the neighbour runs to its end beside all of them.
    for (const exitCode of [0, 3]) {
      const token = `${turn}-${exitCode}`;
      const id = await served.submit(other, ['sh', '-c', `cat; echo end; exit ${exitCode}`], { stdin: `${token}\n` });
      const reason = exitCode === 0 ? 'succeeded' : 'failed';
      const ended = await served.jobThatIs(other, id, 'ended');
      expect(ended, JSON.stringify(ended)).toMatchObject({ reason, exitCode, attempts: 1 });
      expect((await served.output(other, id)).map(({ log }) => log)).toEqual([`${token}\n`, 'end\n']);
    }
    const still = ['sh', '-c', 'cat /root/mark; kill -0 $(cat /root/pid)'];
    expect((await served.exec(other, sandbox, still)).body).toMatchObject({ exitCode: 0, stdout: `${MARK}\n` });
    for (const { id, name } of storms) {
      expect({ name, ...(await served.job(hostile, id)) }).toMatchObject({ name, status: 'running', attempts: 1 });
      const { state } = Container.find(served.home('hostile'), `${id}-1`);
      const totals = totalsOf(served.home('hostile').path, state.supervisorPid ?? 0);
      expect({ name, owner: Math.min(totals.owner, BOUNDS.owner) }).toEqual({ name, owner: totals.owner });
      const disk = storms.length * (DISK / MIB + LOG + JOURNAL) + EVENTS;
      expect({ name, disk: Math.min(totals.disk, disk) }).toEqual({ name, disk: totals.disk });
    }
    for (const { id } of waiting) expect(await served.job(hostile, id)).toMatchObject({ status: 'queued' });
    for (const { id } of storms) {
      expect((await served.call(hostile, 'POST', `/${id}/cancel`, undefined, {}, 'jobs')).status).toBe(200);
    }
    for (const { id } of storms)
      expect(await served.jobThatIs(hostile, id, 'ended')).toMatchObject({ reason: 'cancelled' });
  }

  // What a job of it reaches that is not its own: nothing.
  const look = await served.submit(hostile, reach, shape);
  const looked = await served.jobThatIs(hostile, look, 'ended');
  expect(looked, JSON.stringify(await served.output(hostile, look))).toMatchObject({ reason: 'succeeded' });
  expect(await served.output(hostile, look)).toEqual([]);
  expect(host.counted()).toBe(0);

  expect((await served.call(other, 'DELETE', `/${sandbox}`)).status).toBe(204);

  // Nothing is left: neither runs, nor their processes, nor what was counted for them.
  for (const [name, key] of [
    ['hostile', hostile],
    ['other', other],
  ] as const) {
    await expect.poll(() => served.left(name)).toEqual([]);
    expect(await served.share(key)).toEqual({ cpus: 0, memory: 0, disk: 0 });
  }
  expect(heldByProcesses(served.data)).toEqual(new Map());
});
