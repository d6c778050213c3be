// The output of jobs as server-sent events, over HTTP, of logs as supervisors write them: readers that
// break off and come back, that are slow, that go away. Programs are what the tests write; a job's
// machine is its log alone.
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LogWriter } from '../../../sandbox/home/log-file.js';
import { readLog } from '../../../sandbox/home/log-reader.js';
import { withBeats, withLaterBeats } from '../../../service/http/event-stream.js';
import { RequestRates } from '../../../service/http/rate-limiter.js';
import { type HttpServer, startServer } from '../../../service/http/server.js';
import {
  type JobEnd,
  type JobOutput,
  type JobRecord,
  jobRequestSchema,
  type OutputLine,
} from '../../../service/job.js';
import { Jobs } from '../../../service/jobs/jobs.js';
import { asLines, keepNewest, type Life, type Machines, runName } from '../../../service/jobs/machines.js';
import type { Tenant } from '../../../service/records.js';
import { Commands } from '../../../service/sandboxes/commands.js';
import { Files } from '../../../service/sandboxes/files.js';
import { Places } from '../../../service/sandboxes/places.js';
import { Ports } from '../../../service/sandboxes/ports.js';
import { Sandboxes } from '../../../service/sandboxes/sandboxes.js';
import { Snapshots } from '../../../service/sandboxes/snapshots.js';
import { type Database, openDatabase } from '../../../service/store/database.js';
import { FileStore } from '../../../service/store/file-store.js';
import { JobStore } from '../../../service/store/job-store.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { SecretStore } from '../../../service/store/secret-store.js';
import { SnapshotStore } from '../../../service/store/snapshot-store.js';
import { Statistics } from '../../../service/store/statistics.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { fuzzing } from '../../fixtures/fuzz.js';
import { HOST, send } from '../../fixtures/service.js';

const ACME: Tenant = { name: 'acme', sandboxes: 1, snapshots: 1, jobs: 10, files: 2 ** 20, rate: 'none', ...HOST };
/** Bytes of a log's file. */
const LOG = { maxSize: 20_000, maxFiles: 3 };
const READERS = { beat: 50, stall: 2000 };

/** A program is a log that a test writes, until the test ends it. */
class Programs implements Machines {
  readonly boot = 'boot';
  readonly #folder: string;
  readonly #runs = new Map<string, { writer: LogWriter; over: PromiseWithEnd; end?: JobEnd }>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  #log(job: JobRecord): string {
    return join(this.#folder, runName(job), 'log.json');
  }

  async start(job: JobRecord): Promise<void> {
    mkdirSync(join(this.#folder, runName(job)));
    this.#runs.set(runName(job), { writer: new LogWriter(this.#log(job), LOG), over: withEnd() });
  }

  look(job: JobRecord): Life {
    const run = this.#runs.get(runName(job));
    if (run === undefined) return { name: 'absent' };
    return run.end === undefined ? { name: 'running' } : { name: 'ended', end: run.end };
  }

  async wait(job: JobRecord): Promise<void> {
    await this.#runs.get(runName(job))?.over.promise;
  }

  async kill(job: JobRecord): Promise<void> {
    this.end(runName(job), 137);
  }

  output(job: JobRecord): Promise<JobOutput> {
    return keepNewest(asLines(readLog(this.#log(job))));
  }

  follow(job: JobRecord, signal: AbortSignal): AsyncIterable<OutputLine> {
    const gone = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    return asLines(readLog(this.#log(job), { follow: Promise.race([this.wait(job), gone]) }));
  }

  async collect(): Promise<void> {}

  async remove(job: JobRecord): Promise<void> {
    this.#runs.delete(runName(job));
    rmSync(join(this.#folder, runName(job)), { recursive: true, force: true });
  }

  async withdraw(): Promise<boolean> {
    return true;
  }

  write(run: string, text: string): void {
    this.#runs.get(run)?.writer.write('stdout', Buffer.from(text));
  }

  end(run: string, exitCode: number): void {
    const found = this.#runs.get(run);
    if (found === undefined || found.end !== undefined) return;
    found.writer[Symbol.dispose]();
    found.end = { reason: exitCode === 0 ? 'succeeded' : 'failed', exitCode };
    found.over.resolve();
  }
}

interface PromiseWithEnd {
  promise: Promise<void>;
  resolve: () => void;
}

function withEnd(): PromiseWithEnd {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

let folder: string;
let database: Database;
let programs: Programs;
let jobs: Jobs;
let server: HttpServer;
let key: string;
let otherKey: string;
/** Those of the next requests. */
let readers: typeof READERS;
const faults: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-events-'));
  database = openDatabase(folder);
  database.exec('PRAGMA synchronous = OFF');
  const tenants = new TenantStore(database);
  for (const name of ['acme', 'other']) tenants.add({ ...ACME, name });
  [key, otherKey] = [tenants.addKey('acme'), tenants.addKey('other')];
  programs = new Programs(mkdtempSync(join(folder, 'runs-')));
  const onFault = (message: string) => faults.push(message);
  jobs = new Jobs(new JobStore(database), new FileStore(folder), programs, { host: HOST, onFault });
  jobs.recover();
  const places = new Places();
  const machines = { folder, host: HOST, accel: 'auto', jail: 'require', onFault, onFallback: () => {} } as const;
  const secrets = new SecretStore(database, folder);
  const sandboxes = new Sandboxes(new SandboxStore(database), secrets, places, machines);
  const e2b = {
    commands: new Commands(sandboxes, places),
    files: new Files(sandboxes),
    ports: new Ports(sandboxes, places),
    templates: new Map<string, string>(),
  };
  const rates = new RequestRates();
  readers = { ...READERS };
  const statistics = new Statistics(database);
  const parts = {
    folder,
    tenants,
    sandboxes,
    snapshots: new Snapshots(new SnapshotStore(database), sandboxes, machines),
    jobs,
    places,
    secrets,
    statistics,
    onFault,
    readers,
    rates,
    ...e2b,
  };
  server = await startServer({ host: '127.0.0.1', port: 0 }, parts);
});

afterEach(async () => {
  jobs.close();
  await server.close();
  database.close();
  rmSync(folder, { recursive: true });
  expect(faults).toEqual([]);
});

/** Queues a job. Resolves to its ID once it runs. */
async function submit(spec: object = {}): Promise<string> {
  const { id } = jobs.submit(ACME, jobRequestSchema.parse({ image: 'debian:12', ...spec }));
  await until(id, 'running');
  return id;
}

async function until(id: string, status: string): Promise<void> {
  while (jobs.find(ACME, id).status !== status) await sleep(5);
}

interface Event {
  name: string;
  id: string;
  data: Record<string, unknown>;
}

/** The events from a place on: all, or so many. Then the connection is cut. */
async function read(
  id: string,
  {
    last,
    from = '0',
    most = Number.POSITIVE_INFINITY,
  }: {
    last?: string | undefined;
    from?: string;
    most?: number;
  } = {},
): Promise<Event[]> {
  const events: Event[] = [];
  const gone = new AbortController();
  const headers = { Authorization: `Bearer ${key}`, ...(last === undefined ? {} : { 'Last-Event-ID': last }) };
  const answer = await fetch(`${server.url}/v1/jobs/${id}/events?from=${from}`, { headers, signal: gone.signal });
  expect([answer.status, answer.headers.get('Content-Type')]).toEqual([200, 'text/event-stream']);
  const onEvent = ({ event = 'line', id = '', data }: EventSourceMessage) =>
    events.push({ name: event, id, data: JSON.parse(data) });
  const parser = createParser({ onEvent });
  const decoder = new TextDecoder();
  try {
    for await (const chunk of answer.body ?? []) {
      parser.feed(decoder.decode(chunk, { stream: true }));
      if (events.length >= most) gone.abort();
    }
  } catch (error) {
    if (!gone.signal.aborted) throw error;
  }
  return events.slice(0, most);
}

const textOf = (events: Event[]) => events.map(({ data: { log = '' } }) => log).join('');

/** The files of the runs that this process has open. */
function openLogs(): string[] {
  const paths = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The descriptor of this listing.
      return '';
    }
  });
  return paths.filter((path) => path.includes('log.json') && path.startsWith(folder));
}

describe('events', () => {
  test('are lines with their places, then the job', async () => {
    const id = await submit();
    programs.write(`${id}-1`, 'one\ntwo\n');
    const reading = read(id);
    programs.write(`${id}-1`, 'three');
    programs.end(`${id}-1`, 3);
    const events = await reading;
    expect(textOf(events)).toBe('one\ntwo\nthree');
    expect(events.at(-1)).toMatchObject({ name: 'end', data: { id, reason: 'failed', exitCode: 3 } });
    // The places are those of the lines that `output` has.
    const headers = { Authorization: `Bearer ${key}` };
    const output = await (await fetch(`${server.url}/v1/jobs/${id}/output`, { headers })).text();
    expect(events.at(-1)?.id).toBe(`1:${Buffer.byteLength(output)}`);
    expect(await read(id)).toEqual(events);
    expect(await read(id, { last: events[0]?.id })).toEqual(events.slice(1));
  });

  test('of a reader whose connection breaks off at any moment are all lines, once', async () => {
    const id = await submit();
    const lines = Array.from({ length: 60 }, (_, n) => `${n} ${'é'.repeat(n % 40)}\n`);
    const writing = (async () => {
      for (const line of lines) {
        programs.write(`${id}-1`, line);
        await sleep(3);
      }
      programs.end(`${id}-1`, 0);
    })();
    const events: Event[] = [];
    while (events.at(-1)?.name !== 'end') {
      events.push(...(await read(id, { last: events.at(-1)?.id, most: 1 + (events.length % 7) })));
    }
    await writing;
    expect(textOf(events)).toBe(lines.join(''));
  });

  test('tell what is not kept of an output that outgrows its log', async () => {
    const id = await submit();
    programs.write(`${id}-1`, 'first\n');
    const [first] = await read(id, { most: 1 });
    const lines = Array.from({ length: 2000 }, (_, n) => `${n}\n`);
    for (const line of lines) programs.write(`${id}-1`, line);
    const running = read(id, { last: first?.id });
    programs.write(`${id}-1`, 'last\n');
    programs.end(`${id}-1`, 0);
    await until(id, 'ended');
    // One that comes later reads the same: what is stored has the places of the log.
    for (const events of [await running, await read(id, { last: first?.id })]) {
      const [gap, next] = events;
      expect(gap).toMatchObject({ name: 'gap', id: first?.id });
      const place = (event?: Event) => Number(event?.id.split(':')[1]);
      const length = Buffer.byteLength(`${JSON.stringify(next?.data)}\n`);
      expect(place(next)).toBe(place(first) + Number(gap?.data.bytes) + length);
      expect(textOf(events)).toBe([...lines, 'last\n'].join('').slice(-textOf(events).length));
    }
    expect(jobs.find(ACME, id).truncated).toBe(true);
  });

  test('go on through all runs of the job', async () => {
    const id = await submit({ retries: 1 });
    programs.write(`${id}-1`, 'first\n');
    const before = openLogs().length;
    const reading = read(id);
    while (openLogs().length === before) await sleep(5);
    programs.end(`${id}-1`, 1);
    while (jobs.find(ACME, id).attempts < 2) await sleep(5);
    await until(id, 'running');
    programs.write(`${id}-2`, 'second\n');
    programs.end(`${id}-2`, 0);
    const events = await reading;
    expect(events.map(({ name }) => name)).toEqual(['line', 'run', 'line', 'end']);
    expect([events[1]?.id, events[1]?.data]).toEqual(['2:0', { run: 2 }]);
    // Who comes back with a place of the first run learns that there is another.
    expect(await read(id, { last: events[0]?.id })).toEqual(events.slice(1));
    expect(await read(id, { from: '1:0' })).toEqual(events.slice(1));
    expect(await read(id)).toEqual(events.slice(2));
  });

  test('from any place are the lines behind it, and the one around it', async () => {
    const id = await submit();
    for (let n = 0; n < 20; n++) programs.write(`${id}-1`, `${n}\n`);
    programs.end(`${id}-1`, 0);
    await until(id, 'ended');
    const all = await read(id);
    const place = (event?: Event) => Number(event?.id.split(':')[1]);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 * place(all.at(-1)) }), async (offset) => {
        const events = all.filter((event) => event.name === 'end' || place(event) > offset);
        const found = await read(id, { from: `1:${offset}` });
        expect(found.map(({ data }) => data)).toEqual(events.map(({ data }) => data));
      }),
      fuzzing(30),
    );
  });
});

test.each(['', 'x', '-1', '1.5', '1:', ':1', '0:0', '9:0', '1:1:1', '1'.repeat(40)])(
  '%j is no place',
  async (place) => {
    const id = await submit();
    const url = `${server.url}/v1/jobs/${id}/events`;
    const answers = [await send(`${url}?from=${place}`, { key })];
    if (place !== '') answers.push(await send(url, { key, headers: { 'Last-Event-ID': place } }));
    for (const answer of answers) expect(answer).toMatchObject({ status: 400, body: { code: 'bad-request' } });
  },
);

test('a first event is waited for without a sign, and later ones with some', async () => {
  async function* events() {
    for (const event of ['first', 'second']) {
      await sleep(100);
      yield event;
    }
  }
  const read: string[] = [];
  for await (const event of withLaterBeats(events(), 10, 'beat')) read.push(event);
  expect([read.at(0), read.includes('beat'), read.at(-1)]).toEqual(['first', true, 'second']);
});

test('events whose end fails once their reader is gone fail nothing else', async () => {
  let hasEnded = false;
  async function* events() {
    try {
      for (;;) yield 'event';
    } finally {
      hasEnded = true;
      await Promise.reject(new Error('it failed late'));
    }
  }
  for await (const event of withBeats(events(), 60_000, 'beat')) {
    expect(event).toBe('event');
    break;
  }
  expect(hasEnded).toBe(true);
});

test("another tenant's job answers as one that there is not", async () => {
  const id = await submit();
  const ask = (of: string) =>
    send(`${server.url}/v1/jobs/${of}/events?from=9:9`, { key: otherKey, headers: { 'Last-Event-ID': '8:1' } });
  const answer = await ask(id);
  expect(answer.status).toBe(404);
  expect(answer.body).toEqual((await ask('job-0000000000000000')).body);
});

describe('readers', () => {
  test('that go away leave nothing, though the job says nothing', async () => {
    const id = await submit();
    programs.write(`${id}-1`, 'one\n');
    const before = openLogs().length;
    // More than a tenant has places.
    for (let n = 0; n < 5; n++) {
      const readers = Array.from({ length: 8 }, () => read(id, { most: 1 }));
      for (const events of await Promise.all(readers)) expect(textOf(events)).toBe('one\n');
      while (openLogs().length > before) await sleep(5);
    }
    programs.end(`${id}-1`, 0);
  });

  test('of a job that says nothing get comments', async () => {
    const id = await submit();
    const headers = { Authorization: `Bearer ${key}` };
    const answer = await fetch(`${server.url}/v1/jobs/${id}/events`, { headers });
    let text = '';
    for await (const chunk of answer.body ?? []) {
      text += Buffer.from(chunk).toString();
      if (text.length > 30) break;
    }
    expect(text).toMatch(/^(: \n\n)+$/);
    programs.end(`${id}-1`, 0);
  });

  test('of lines that are waited for stay, however long', async () => {
    const id = await submit();
    const headers = { Authorization: `Bearer ${key}` };
    const answer = await fetch(`${server.url}/v1/jobs/${id}/output?follow=true`, { headers });
    await sleep(1.5 * READERS.stall);
    programs.write(`${id}-1`, 'late\n');
    programs.end(`${id}-1`, 0);
    expect(JSON.parse(await answer.text())).toMatchObject({ log: 'late\n' });
  });

  test.each(['events', 'output?follow=true'])(
    'of %s that take nothing delay no program, cost little memory, and are cut off',
    async (what) => {
      const id = await submit();
      const { hostname, port } = new URL(server.url);
      programs.write(`${id}-1`, 'begun\n');
      for (let n = 0; n < 8; n++) {
        const socket = connect(Number(port), hostname).pause();
        socket.write(`GET /v1/jobs/${id}/${what} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\n\r\n`);
        socket.on('error', () => {});
        socket.once('end', () => socket.end());
      }
      while (openLogs().length < 9) await sleep(5);
      // A busy host keeps this process waiting, which has both sides: one that reads takes nothing
      // meanwhile.
      readers.stall = 600_000;
      const before = process.memoryUsage().rss;
      const line = `${'x'.repeat(1000)}\n`;
      let most = 0;
      // The program goes on, and one that reads gets its lines.
      let isFlooding = true;
      const flood = (async () => {
        for (; isFlooding; await sleep(1)) {
          for (let n = 0; n < 20; n++) programs.write(`${id}-1`, line);
          most = Math.max(most, process.memoryUsage().rss);
        }
      })();
      expect(textOf(await read(id, { most: 1000 })).length).toBeGreaterThan(900_000);
      // All others hold no more than their sockets' buffers, and are gone in the end.
      while (openLogs().length > 1) await sleep(20);
      isFlooding = false;
      await flood;
      programs.end(`${id}-1`, 0);
      expect(most - before).toBeLessThan(200 * 2 ** 20);
    },
  );
});

test.each(['events', 'output?follow=true'])(
  'an unread request of %s that is asked for with HEAD leaves nothing',
  async (what) => {
    const id = await submit();
    for (let n = 0; n < 40; n++) {
      const answer = await new Promise<IncomingMessage>((resolve) => {
        const headers = { Authorization: `Bearer ${key}` };
        request(`${server.url}/v1/jobs/${id}/${what}`, { method: 'HEAD', headers }, resolve).end();
      });
      answer.resume();
      expect(answer.statusCode).toBe(200);
    }
    programs.end(`${id}-1`, 0);
  },
);
