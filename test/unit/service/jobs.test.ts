// The queue of jobs, in a real database. Programs are simulated by a host that outlives the server,
// so that a server may be killed between any two steps: no job is lost, none runs twice at once, or
// again once its end is known, shares hold, and tenants get equal parts.
import { copyFileSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, type Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { DatabaseSync } from '@photostructure/sqlite';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ServiceError } from '../../../service/errors.js';
import {
  type JobEnd,
  type JobOutput,
  type JobRecord,
  jobRequestSchema,
  jobSpecSchema,
  type OutputLine,
} from '../../../service/job.js';
import { Jobs } from '../../../service/jobs/jobs.js';
import type { Life, Machines } from '../../../service/jobs/machines.js';
import type { Resources, Tenant } from '../../../service/records.js';
import { specSchema } from '../../../service/records.js';
import { type Database, openDatabase } from '../../../service/store/database.js';
import { FileStore, UPLOAD_LIFETIME } from '../../../service/store/file-store.js';
import { held } from '../../../service/store/held.js';
import { JobStore } from '../../../service/store/job-store.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { fuzzing } from '../../fixtures/fuzz.js';

const GIB = 2 ** 30;
const share = (name: string, more: Partial<Tenant> = {}): Tenant => ({
  ...{
    name,
    sandboxes: 100,
    snapshots: 1,
    jobs: 1000,
    cpus: 4,
    memory: 64 * GIB,
    disk: 64 * GIB,
    files: GIB,
    rate: 'none',
  },
  ...more,
});
const ACME = share('acme');
const OTHER = share('other');
const HOST: Resources = { cpus: 4, memory: 64 * GIB, disk: 256 * GIB };
const NOTHING: JobOutput = { lines: '', truncated: false, offset: 0 };
const DONE: JobEnd = { reason: 'succeeded', exitCode: 0 };

let folder: string;
let database: Database;
let jobs: JobStore;
let now: number;
const clock = () => now;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-jobs-'));
  database = openDatabase(folder);
  // No power fails here, and the many jobs of these tests are quicker so.
  database.exec('PRAGMA synchronous = OFF');
  now = Date.parse('2026-01-01T00:00:00Z');
  jobs = new JobStore(database, { clock });
  for (const tenant of [ACME, OTHER]) new TenantStore(database).add(tenant);
});

afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true });
});

const specOf = (spec: object = {}) => jobSpecSchema.parse({ image: 'debian:12', ...spec });
/** Each reads something, and leaves something. */
const requestOf = (spec: object) =>
  jobRequestSchema.parse({ image: 'debian:12', stdin: 'input', outputs: '/out', ...spec });
const add = (tenant: Tenant, id: string, spec: object = {}, key?: string) =>
  jobs.add(tenant, HOST, { id, spec: specOf(spec), key });
const place = (host = HOST) => jobs.place(host, 'boot');
const codeOf = (code: string) => expect.objectContaining({ code });

describe('the queue', () => {
  test('has the order of priorities, then of submissions, and each job is placed once', () => {
    add(ACME, 'a');
    add(ACME, 'b', { priority: -1 });
    add(ACME, 'c', { priority: 1 });
    add(ACME, 'd');
    expect(Array.from({ length: 5 }, () => place()?.id)).toEqual(['c', 'a', 'd', 'b', undefined]);
  });

  test('is bounded for each tenant, and what it will never hold is refused', () => {
    const few = share('acme', { jobs: 2 });
    add(few, 'a');
    add(few, 'b');
    expect(() => add(few, 'c')).toThrow(codeOf('quota'));
    expect(() => add(ACME, 'c', { disk: 65 * GIB })).toThrow(codeOf('quota'));
    expect(() => add(ACME, 'c', { cpus: 5 })).toThrow(codeOf('quota'));
    expect(() => add(share('acme', { cpus: 9 }), 'c', { cpus: 5 })).toThrow(codeOf('quota'));
    const job = place()!;
    expect(() => add(few, 'c')).toThrow(codeOf('quota'));
    jobs.end(job, DONE, NOTHING);
    expect(add(few, 'c')).toMatchObject({ status: 'queued', attempts: 0 });
  });

  test('the output of a job that is removed while it is read breaks off', () => {
    add(ACME, 'a');
    const line = `${'x'.repeat(1000)}\n`;
    jobs.end(place()!, DONE, { lines: line.repeat(100), truncated: false, offset: 0 });
    expect([...jobs.outputLines('a')]).toHaveLength(100);
    const reading = jobs.outputLines('a');
    expect(reading.next().value).toMatchObject({ line });
    jobs.remove('acme', 'a');
    expect(() => [...reading]).toThrow(codeOf('not-found'));
  });

  test('a job that has said nothing has no lines', () => {
    add(ACME, 'a');
    jobs.end(place()!, DONE, NOTHING);
    expect([...jobs.outputLines('a')]).toEqual([]);
  });

  test('a job that is submitted twice with one key is one job', () => {
    add(ACME, 'a', {}, 'key');
    expect(add(ACME, 'b', {}, 'key').id).toBe('a');
    jobs.end(place()!, DONE, NOTHING);
    expect(add(ACME, 'c', {}, 'key')).toMatchObject({ id: 'a', status: 'ended' });
    expect(() => add(ACME, 'd', { cpus: 2 }, 'key')).toThrow(codeOf('conflict'));
    expect(add(OTHER, 'e', { cpus: 2 }, 'key').id).toBe('e');
  });

  test('sandboxes and jobs share what a tenant and the host have', () => {
    const sandboxes = new SandboxStore(database);
    const sandbox = (id: string, cpus: number) =>
      sandboxes.add(ACME, HOST, { id, spec: specSchema.parse({ image: 'a', cpus }) }).record;
    const held = sandbox('s', 3);
    add(ACME, 'a', { cpus: 2 });
    // It does not keep others from room that a sandbox alone has taken from it.
    add(OTHER, 'b', { cpus: 1 });
    expect([place()?.id, place()]).toEqual(['b', undefined]);
    jobs.end(jobs.find('other', 'b'), DONE, NOTHING);
    sandboxes.end(held, { reason: 'stopped' });
    expect(place()?.id).toBe('a');
    expect(() => sandbox('t', 3)).toThrow(codeOf('quota'));
  });

  test('jobs whose disks do not fit the share wait, and let others pass', () => {
    for (const id of ['a', 'b']) add(ACME, id, { disk: 40 * GIB });
    add(OTHER, 'c', { disk: 40 * GIB });
    expect([place()?.id, place()?.id, place()]).toEqual(['a', 'c', undefined]);
    jobs.end(jobs.find('acme', 'a'), DONE, NOTHING);
    expect(place()?.id).toBe('b');
  });

  test('a job that waits for others to end is overtaken by none', () => {
    add(ACME, 'small', { cpus: 1 });
    place();
    add(OTHER, 'large', { cpus: 4 });
    now += 60_000;
    add(ACME, 'next', { cpus: 1 });
    expect(place()).toBeUndefined();
    jobs.end(jobs.find('acme', 'small'), DONE, NOTHING);
    expect([place()?.id, place()]).toEqual(['large', undefined]);
  });

  test("a list has pages, newest first, and nothing of others'", () => {
    for (const id of ['a', 'b', 'c']) add(ACME, id);
    add(OTHER, 'x');
    const ids = (page: object) => [...jobs.list('acme', { limit: 2, ...page })].map(({ id }) => id);
    expect([ids({}), ids({ before: 'b' })]).toEqual([['c', 'b'], ['a']]);
    expect(() => ids({ before: 'x' })).toThrow(/list from the newest one/);
    place();
    expect([ids({ status: 'starting' }), ids({ status: 'queued' })]).toEqual([['a'], ['c', 'b']]);
    expect(() => jobs.find('acme', 'x')).toThrow(codeOf('not-found'));
    expect(() => jobs.cancel('acme', 'x')).toThrow(codeOf('not-found'));
  });

  test('of those that have ended, the newest are kept with their output, and all others', () => {
    const few = new JobStore(database, { kept: 2, clock });
    for (const id of ['a', 'b', 'c', 'd']) {
      add(ACME, id);
      few.end(place()!, DONE, { lines: id, truncated: false, offset: 0 });
    }
    add(ACME, 'queued');
    expect([...few.list('acme', { limit: 10 })].map(({ id }) => id)).toEqual(['queued', 'd', 'c']);
    expect(database.prepare('SELECT lines FROM outputs ORDER BY job').all()).toEqual([{ lines: 'c' }, { lines: 'd' }]);
  });
});

describe('runs', () => {
  test.each([
    ['failed', 3],
    ['timed-out', 3],
    ['lost', 3],
    ['succeeded', 1],
    ['not-started', 1],
  ] as const)('one that %s is followed by others, %i in all', (reason, attempts) => {
    add(ACME, 'a', { retries: 2 });
    for (let run = place(); run !== undefined; run = place()) jobs.end(run, { reason }, NOTHING);
    expect(jobs.find('acme', 'a')).toMatchObject({ status: 'ended', reason, attempts });
  });

  test('an end counts once, and one of an earlier run not at all', () => {
    add(ACME, 'a', { retries: 1 });
    const first = place()!;
    expect([jobs.run(first), jobs.run(first)]).toEqual([true, false]);
    expect(jobs.end(first, { reason: 'failed', exitCode: 1 }, NOTHING)).toBe(true);
    const second = place()!;
    expect([jobs.run(first), jobs.unplace(first), jobs.end(first, DONE, NOTHING)]).toEqual([false, false, false]);
    expect(jobs.end(second, DONE, { lines: 'second', truncated: true, offset: 9 })).toBe(true);
    expect(jobs.end(second, { reason: 'lost' }, NOTHING)).toBe(false);
    expect(jobs.find('acme', 'a')).toMatchObject({ reason: 'succeeded', exitCode: 0, attempts: 2, truncated: true });
    expect(jobs.output('a')).toBe('second');
  });

  test('one that has not begun does not count', () => {
    add(ACME, 'a');
    expect(jobs.unplace(place()!)).toBe(true);
    expect(jobs.find('acme', 'a')).toMatchObject({ status: 'queued', attempts: 0 });
    const running = place()!;
    jobs.run(running);
    expect(jobs.unplace(running)).toBe(false);
  });

  test('a queued job is cancelled at once, another by an order, which no retry survives', () => {
    add(ACME, 'a', { retries: 5 });
    expect(jobs.cancel('acme', 'a')).toMatchObject({ status: 'ended', reason: 'cancelled', attempts: 0 });
    add(ACME, 'b', { retries: 5 });
    const run = place()!;
    expect(jobs.cancel('acme', 'b')).toMatchObject({ status: 'starting', order: 'cancelled' });
    expect(jobs.unplace(run)).toBe(false);
    jobs.end(run, { reason: 'failed', exitCode: 137 }, NOTHING);
    expect(jobs.find('acme', 'b')).toMatchObject({ status: 'ended', reason: 'cancelled' });
    expect(jobs.cancel('acme', 'b')).toMatchObject({ reason: 'cancelled' });
  });

  test('a deadline ends a job in the queue, and orders the end of one that runs', () => {
    add(ACME, 'a', { deadline: 1000 });
    place();
    add(ACME, 'b', { deadline: 1000 });
    add(ACME, 'c', { deadline: 5000 });
    now += 999;
    jobs.expire();
    expect(jobs.find('acme', 'b').status).toBe('queued');
    now += 1;
    jobs.expire();
    expect(['a', 'b', 'c'].map((id) => jobs.find('acme', id))).toMatchObject([
      { status: 'starting', order: 'expired' },
      { status: 'ended', reason: 'expired' },
      { status: 'queued' },
    ]);
    // The first order counts.
    expect(jobs.cancel('acme', 'a').order).toBe('expired');
  });

  test('of many jobs whose deadlines have passed, a few end at a time, those that passed first', () => {
    for (let n = 0; n < 25; n++) add(share('acme', { jobs: 25 }), `job-${n}`, { deadline: 3000 - n });
    const ended = () => [...jobs.list('acme', { limit: 25, status: 'ended' })].map(({ id }) => id);
    now += 3000;
    expect([jobs.expire(), ended()]).toEqual([true, Array.from({ length: 10 }, (_, n) => `job-${24 - n}`)]);
    // Those that are left do not begin any more.
    expect([place(), jobs.waits(HOST).size]).toEqual([undefined, 0]);
    expect([jobs.expire(), ended().length]).toEqual([true, 20]);
    expect([jobs.expire(), ended().length, jobs.expire()]).toEqual([false, 25, false]);
  });
});

describe('fair parts', () => {
  const ONE: Resources = { cpus: 1, memory: GIB, disk: GIB };

  test('a tenant with 400 queued jobs delays the single one of another by one job at most', () => {
    for (let n = 0; n < 400; n++) add(ACME, `a${n}`);
    for (let n = 0; n < 20; n++) {
      const run = place(ONE)!;
      now += 60_000;
      jobs.end(run, DONE, NOTHING);
    }
    const before = place(ONE)!;
    add(OTHER, 'single');
    expect(place(ONE)).toBeUndefined();
    now += 60_000;
    jobs.end(before, DONE, NOTHING);
    expect(place(ONE)?.id).toBe('single');
  });

  test('who ran alone for a day owes nothing to who comes then', () => {
    add(ACME, 'a');
    const run = place(ONE)!;
    now += 86_400_000;
    jobs.end(run, DONE, NOTHING);
    const order: string[] = [];
    for (let n = 0; n < 4; n++) {
      add(OTHER, `b${n}`);
      add(ACME, `a${n}`);
    }
    for (let next = place(ONE); next !== undefined; next = place(ONE)) {
      order.push(next.tenant);
      now += 1000;
      jobs.end(next, DONE, NOTHING);
    }
    expect(order.slice(0, 4).sort()).toEqual(['acme', 'acme', 'other', 'other']);
  });

  test('tenants that always wait get the same CPU time, whatever their jobs take', () => {
    const length = fc.integer({ min: 1, max: 100_000 });
    const lengths = fc.array(length, { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.array(lengths, { minLength: 2, maxLength: 4 }), fc.integer({ min: 1, max: 3 }), (all, cpus) => {
        database.exec('DELETE FROM outputs; DELETE FROM jobs; DELETE FROM tenants');
        const tenants = all.map((_, n) => share(`t${n}`));
        for (const tenant of tenants) new TenantStore(database).add(tenant);
        const host = { cpus, memory: 64 * GIB, disk: 1024 * GIB };
        const had = all.map(() => 0);
        let number = 0;
        for (const tenant of tenants) for (let n = 0; n <= cpus; n++) add(tenant, `j${number++}`);
        let runs: { job: JobRecord; until: number; which: number; took: number }[] = [];
        for (let step = 0; step < 60; step++) {
          for (let job = place(host); job !== undefined; job = place(host)) {
            const which = Number(job.tenant.slice(1));
            const took = all[which]![number % all[which]!.length]!;
            runs.push({ job, which, took, until: now + took });
            add(tenants[which]!, `j${number++}`);
          }
          expect(runs.length).toBe(cpus);
          now = Math.min(...runs.map(({ until }) => until));
          for (const { job, which, took } of runs.filter(({ until }) => until <= now)) {
            jobs.end(job, DONE, NOTHING);
            had[which]! += Math.max(1000, took);
          }
          runs = runs.filter(({ until }) => until > now);
        }
        const part = (which: number) =>
          had[which]! + runs.filter((run) => run.which === which).reduce((sum, run) => sum + run.took, 0);
        const parts = all.map((_, which) => part(which));
        const longest = Math.max(1000, ...all.flat());
        expect(Math.max(...parts) - Math.min(...parts)).toBeLessThanOrEqual(longest * cpus * 2);
      }),
      fuzzing(8),
    );
  });
});

/**
 * Programs on a host. They go on when the server is killed, and end when the host goes down. What a
 * server has told to start does, while the next server looks.
 */
class SimulatedHost {
  boot = 'boot-0';
  /** By name of the run. What is removed is gone, as on a disk. */
  readonly #runs = new Map<string, Life>();
  /** How often the program of each run has begun. */
  readonly begun = new Map<string, number>();
  /** The most programs of one job that ran at once. */
  mostAtOnce = 0;
  #wake: (() => void)[] = [];

  name = ({ id, attempts }: JobRecord) => `${id}-${attempts}`;

  create(job: JobRecord): void {
    if (this.#runs.has(this.name(job))) throw new Error('there is such a container');
    this.#runs.set(this.name(job), { name: 'created' });
  }

  /** Tells a supervisor to start it, which it does whether the server is alive or not. */
  async go(job: JobRecord): Promise<void> {
    const name = this.name(job);
    this.#runs.set(name, { name: 'starting' });
    for (let step = 0; step < 2; step++) await setImmediate();
    if (this.#runs.get(name)?.name !== 'starting') return;
    if (job.spec.image === 'nothing') {
      this.#runs.set(name, { name: 'ended', end: { reason: 'not-started' } });
      throw new ServiceError('no-image', 'no such image');
    }
    this.begun.set(name, (this.begun.get(name) ?? 0) + 1);
    this.#set(name, { name: 'running' });
    const atOnce = this.running.filter((each) => each.startsWith(`${job.id}-`)).length;
    this.mostAtOnce = Math.max(this.mostAtOnce, atOnce);
    // The server is told later.
    for (let step = 0; step < 3; step++) await setImmediate();
  }

  look(job: JobRecord): Life {
    return this.#runs.get(this.name(job)) ?? { name: 'absent' };
  }

  async wait(job: JobRecord): Promise<void> {
    const life = this.look(job).name;
    if (life === 'running') await new Promise<void>((resolve) => this.#wake.push(resolve));
    else await setImmediate();
  }

  remove(name: string): void {
    this.#runs.delete(name);
  }

  get running(): string[] {
    return [...this.#runs].filter(([, { name }]) => name === 'running').map(([name]) => name);
  }

  get left(): string[] {
    return [...this.#runs.keys()];
  }

  end(name: string, end: JobEnd): void {
    if (this.#runs.get(name)?.name === 'running') this.#set(name, { name: 'ended', end });
  }

  /** The host goes down: no program runs. Of some, what a supervisor wrote last is gone too. */
  goDown(): void {
    this.boot = `boot-${Number(this.boot.slice(5)) + 1}`;
    let isWritten = false;
    for (const [name, life] of this.#runs) {
      if (life.name !== 'running' && life.name !== 'starting') continue;
      isWritten = !isWritten && life.name === 'running';
      this.#set(name, isWritten ? { name: 'ended', end: { reason: 'lost' } } : { name: 'created' });
    }
  }

  #set(name: string, life: Life): void {
    this.#runs.set(name, life);
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** A server's way to the host. A server that is killed does nothing more. */
class Connection implements Machines {
  readonly #host: SimulatedHost;
  readonly boot: string;
  isAlive = true;

  constructor(host: SimulatedHost) {
    this.#host = host;
    this.boot = host.boot;
  }

  async #step(): Promise<void> {
    if (this.isAlive) await setImmediate();
    if (!this.isAlive) throw new Error('the server is dead');
  }

  async start(job: JobRecord): Promise<void> {
    await this.#step();
    this.#host.create(job);
    await this.#step();
    await this.#host.go(job);
    await this.#step();
  }

  look(job: JobRecord): Life {
    if (!this.isAlive) throw new Error('the server is dead');
    return this.#host.look(job);
  }

  wait(job: JobRecord): Promise<void> {
    return this.#host.wait(job);
  }

  async kill(job: JobRecord): Promise<void> {
    await this.#step();
    this.#host.end(this.#host.name(job), { reason: 'failed', exitCode: 137 });
  }

  async output(job: JobRecord): Promise<JobOutput> {
    await this.#step();
    return { lines: `${this.#host.name(job)}\n`, truncated: false, offset: 0 };
  }

  async *follow(): AsyncIterable<OutputLine> {}

  async collect(job: JobRecord, output: Writable): Promise<void> {
    await this.#step();
    output.write(`left by ${this.#host.name(job)}`);
    await this.#step();
  }

  async remove(job: JobRecord): Promise<void> {
    await this.#step();
    this.#host.remove(this.#host.name(job));
  }

  async withdraw(job: JobRecord): Promise<boolean> {
    await this.#step();
    const { name } = this.#host.look(job);
    if (name !== 'created' && name !== 'absent') return false;
    this.#host.remove(this.#host.name(job));
    return true;
  }

  /** Removes what no record is of, as a server does before it recovers jobs. */
  removeLeft(jobs: readonly JobRecord[]): void {
    const known = new Set(jobs.map(this.#host.name));
    for (const name of this.#host.left) if (!known.has(name)) this.#host.remove(name);
  }
}

describe('the files of a tenant', () => {
  /** A server whose jobs end by themselves, each with files that it has left. */
  function serve(files: number) {
    new TenantStore(database).set('acme', { files });
    const acme = share('acme', { files });
    const host = new SimulatedHost();
    const store = new FileStore(folder);
    const connection = new Connection(host);
    const server = new Jobs(jobs, store, connection, { host: HOST, onFault: expect.unreachable });
    const upload = (...parts: string[]) => server.upload(acme, Readable.from(parts.map((part) => Buffer.from(part))));
    const end = async () => {
      const { id } = server.submit(acme, requestOf({ stdin: '' }));
      while (jobs.find('acme', id).status !== 'running') await setImmediate();
      host.end(`${id}-1`, DONE);
      while (jobs.find('acme', id).status !== 'ended') await setImmediate();
      return id;
    };
    return { server, store, acme, connection, upload, end };
  }

  test('have one share with its uploads', async () => {
    const { server, store, upload, end } = serve(100);
    const before = await end();
    await upload('x'.repeat(60));
    expect(jobs.find('acme', before)).toMatchObject({ outputs: 30 });
    const newer = await end();
    expect(jobs.find('acme', newer)).toMatchObject({ outputs: 30 });
    expect(jobs.find('acme', before)).toMatchObject({ outputsError: expect.stringContaining('used up') });
    await upload('y'.repeat(10));
    await expect(upload('z')).rejects.toThrow(codeOf('quota'));
    expect(jobs.stored('acme') + store.uploaded('acme')).toBe(100);
    expect(readdirSync(join(folder, 'files/acme')).sort()).toEqual([newer, 'uploads']);
    server.close();
  });

  test('are never more than their share by uploads that come at once', async () => {
    const { server, store, acme, upload } = serve(100);
    const [gate, slow] = [new PassThrough(), new PassThrough()];
    const first = server.upload(acme, gate);
    const second = server.upload(acme, slow);
    await upload('x'.repeat(60));
    gate.end('y'.repeat(60));
    slow.end('z'.repeat(30));
    await expect(first).rejects.toThrow(codeOf('quota'));
    await second;
    expect(store.uploaded('acme')).toBe(90);
    expect(readdirSync(join(folder, 'files/acme/uploads'))).toHaveLength(2);
    server.close();
  });

  test('are whole or none, also if what writes them goes on after their end', async () => {
    const store = new FileStore(folder);
    const most = 2 ** 20;
    const keep = (write: (output: Writable) => Promise<void>) => store.keepOutputs('acme', 'job', most, write);
    const tooMuch = async (output: Writable) => {
      output.write(Buffer.alloc(most + 1));
      // As a machine that is shut down before its last bytes are written.
      await new Promise((resolve) => output.once('error', resolve));
    };
    await expect(keep(tooMuch)).rejects.toThrow(codeOf('quota'));
    const late = async (output: Writable) => {
      for (let n = 0; n < 10; n++) output.write(Buffer.alloc(most / 20));
      throw new ServiceError('unresponsive', 'late');
    };
    await expect(keep(late)).rejects.toThrow(codeOf('unresponsive'));
    for (let step = 0; step < 50; step++) await setImmediate();
    // No byte of those counts.
    const all = async (output: Writable) => void output.write(Buffer.alloc(most));
    expect(await keep(all)).toBe(most);
    expect(readdirSync(join(folder, 'files/acme/job'))).toEqual(['outputs']);
  });

  test('are not looked for if the job was cancelled', async () => {
    const { server, acme, connection } = serve(100);
    const collect = vi.spyOn(connection, 'collect');
    const { id } = server.submit(acme, requestOf({}));
    while (jobs.find('acme', id).status !== 'running') await setImmediate();
    server.cancel(acme, id);
    while (jobs.find('acme', id).status !== 'ended') await setImmediate();
    expect([jobs.find('acme', id).reason, collect.mock.calls]).toEqual(['cancelled', []]);
    server.close();
  });

  test('give way in the order in which they came', async () => {
    for (const id of ['a', 'b']) add(ACME, id);
    const [a, b] = [place()!, place()!];
    jobs.end(b, DONE, NOTHING, { size: 60 });
    now += 1;
    jobs.end(a, DONE, NOTHING, { size: 60 });
    new TenantStore(database).set('acme', { files: 100 });
    jobs.makeRoom('acme', 0);
    expect([jobs.find('acme', 'a').outputs, jobs.find('acme', 'b').outputs]).toEqual([60, undefined]);
  });

  test('go after an hour if they are uploads, whether its tenant comes again or not', async () => {
    const { server, upload, store } = serve(100);
    await upload('x');
    const [name = ''] = readdirSync(join(folder, 'files/acme/uploads'));
    const before = (Date.now() - UPLOAD_LIFETIME) / 1000 - 1;
    utimesSync(join(folder, 'files/acme/uploads', name), before, before);
    server.recover();
    expect(store.uploaded('acme')).toBe(0);
    server.close();
  });
});

describe('a server that may be killed at any moment', () => {
  const action = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('submit' as const),
        tenant: fc.constantFrom(ACME, OTHER),
        image: fc.constantFrom('debian:12', 'debian:12', 'debian:12', 'nothing'),
        cpus: fc.integer({ min: 1, max: 4 }),
        retries: fc.integer({ min: 0, max: 2 }),
        key: fc.option(
          fc.integer({ min: 0, max: 3 }).map((n) => `key-${n}`),
          { nil: undefined },
        ),
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('end' as const),
        which: fc.nat(),
        code: fc.constantFrom(0, 0, 1),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat() }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), steps: fc.integer({ min: 1, max: 5 }) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('kill' as const), host: fc.boolean() }) },
  );

  /** A server takes over jobs of which each has come so far: placed, and its run as `begin` leaves it. */
  async function takeOver(
    begin: (host: SimulatedHost, job: JobRecord) => unknown,
    isHostDown: boolean,
    status: string,
  ) {
    const host = new SimulatedHost();
    for (const id of ['a', 'b']) {
      add(ACME, id);
      await begin(host, jobs.place(HOST, host.boot)!);
    }
    if (isHostDown) host.goDown();
    const next = new Jobs(jobs, new FileStore(folder), new Connection(host), {
      host: HOST,
      onFault: expect.unreachable,
    });
    next.recover();
    const find = () => ['a', 'b'].map((id) => jobs.find('acme', id));
    while (find().some((each) => each.status !== status)) await setImmediate();
    // Nothing more begins.
    for (let step = 0; step < 50; step++) await setImmediate();
    const found = find();
    next.close();
    return { found, begun: [...host.begun.values()] };
  }

  test('a run that may have begun before the host went down is not begun again', async () => {
    const begin = async (host: SimulatedHost, job: JobRecord) => {
      host.create(job);
      await host.go(job);
    };
    // One is known to have run. Of the other, the host's disk says that it was made, and no more.
    const { found, begun } = await takeOver(begin, true, 'ended');
    expect(found).toMatchObject([{ reason: 'lost' }, { reason: 'lost' }]);
    expect(begun).toEqual([1, 1]);
  });

  test.each([
    ['was not made', () => {}, false],
    ['was not made when the host went down', () => {}, true],
    ['was made, and told nothing', (host: SimulatedHost, job: JobRecord) => host.create(job), false],
    [
      'starts by itself',
      (host: SimulatedHost, job: JobRecord) => {
        host.create(job);
        host.go(job);
      },
      false,
    ],
  ])('a run that %s begins once, and counts once', async (_name, begin, isHostDown) => {
    const { found, begun } = await takeOver(begin, isHostDown, 'running');
    expect(found).toMatchObject([
      { status: 'running', attempts: 1 },
      { status: 'running', attempts: 1 },
    ]);
    expect(begun).toEqual([1, 1]);
  });

  test('loses no job, runs none twice at once, and ends each once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 60 }), async (actions) => {
        const data = mkdtempSync(join(folder, 'data-'));
        const host = new SimulatedHost();
        const faults: string[] = [];
        const told = new Map<string, { tenant: Tenant; key?: string | undefined }>();
        let server: { database: Database; store: JobStore; jobs: Jobs; connection: Connection; files: FileStore };

        const start = (from: string) => {
          const opened = openDatabase(from);
          opened.exec('PRAGMA synchronous = OFF');
          const tenants = new TenantStore(opened);
          if (tenants.list().length === 0) for (const tenant of [ACME, OTHER]) tenants.add(tenant);
          const store = new JobStore(opened);
          const connection = new Connection(host);
          const files = new FileStore(from);
          for (const { name } of [ACME, OTHER]) files.sweep(name, store.keepings(name));
          const made = new Jobs(store, files, connection, { host: HOST, onFault: (message) => faults.push(message) });
          server = { database: opened, store, jobs: made, connection, files };
          connection.removeLeft(store.placed());
          made.recover();
        };
        /** What is committed is all that is left of it. */
        const kill = (isHost: boolean) => {
          const next = mkdtempSync(join(folder, 'data-'));
          for (const name of ['service.db', 'service.db-wal']) copyFileSync(join(current, name), join(next, name));
          if (existsSync(join(current, 'files')))
            cpSync(join(current, 'files'), join(next, 'files'), { recursive: true });
          server.jobs.close();
          server.database.close();
          server.connection.isAlive = false;
          if (isHost) host.goDown();
          current = next;
          start(next);
        };
        const check = () => {
          for (const tenant of [ACME, OTHER]) {
            const own = server.store.placed().filter((job) => job.tenant === tenant.name);
            expect(own.reduce((sum, { spec }) => sum + spec.cpus, 0)).toBeLessThanOrEqual(tenant.cpus);
          }
          expect(server.store.placed().reduce((sum, { spec }) => sum + spec.cpus, 0)).toBeLessThanOrEqual(HOST.cpus);
          for (const [id, { tenant }] of told) {
            const { status } = server.jobs.find(tenant, id);
            const isRead = existsSync(server.files.path(tenant.name, id, 'stdin'));
            expect(isRead || status === 'ended').toBe(true);
          }
          expect(host.mostAtOnce).toBeLessThanOrEqual(1);
        };

        let current = data;
        start(data);
        for (const act of actions) {
          if (act.do === 'submit') {
            const { tenant, key, image, cpus, retries } = act;
            try {
              const { id } = server!.jobs.submit(tenant, requestOf({ image, cpus, retries }), key);
              told.set(id, { tenant, key });
            } catch (error) {
              expect(error).toMatchObject({ code: 'conflict' });
            }
          } else if (act.do === 'end') {
            const name = host.running[act.which % (host.running.length || 1)];
            const reason = act.code === 0 ? 'succeeded' : 'failed';
            if (name !== undefined) host.end(name, { reason, exitCode: act.code });
          } else if (act.do === 'cancel') {
            const [id, of] = [...told][act.which % (told.size || 1)] ?? [];
            if (id !== undefined) server!.jobs.cancel(of!.tenant, id);
          } else if (act.do === 'kill') kill(act.host);
          else for (let step = 0; step < act.steps; step++) await setImmediate();
          check();
        }
        // Whatever runs ends; then nothing is left to do.
        const isOver = () => [...told].every(([id, { tenant }]) => server.jobs.find(tenant, id).status === 'ended');
        // Files are removed meanwhile, which takes a busy disk long.
        const patience = performance.now() + 100_000;
        while (!(isOver() && host.left.length === 0) && performance.now() < patience) {
          for (const name of host.running) host.end(name, DONE);
          await setImmediate();
        }
        check();
        for (const [id, { tenant }] of told) {
          const job = server!.jobs.find(tenant, id);
          const runs = [...host.begun].filter(([name]) => name.startsWith(`${id}-`));
          expect(job.status).toBe('ended');
          // No run began twice, and there are no more than were asked for: each is counted.
          expect(runs.every(([, count]) => count === 1)).toBe(true);
          expect(runs.length).toBeLessThanOrEqual(job.attempts);
          expect(job.attempts).toBeLessThanOrEqual(job.spec.retries + 1);
          const left = server!.files.path(tenant.name, id, 'outputs');
          expect(existsSync(server!.files.path(tenant.name, id, 'stdin'))).toBe(false);
          expect(existsSync(left)).toBe(job.outputs !== undefined);
          if (job.reason === 'succeeded' || job.reason === 'failed') {
            expect(readFileSync(left, 'utf8')).toBe(`left by ${id}-${job.attempts}`);
            expect(runs.map(([name]) => name)).toContain(`${id}-${job.attempts}`);
            expect(server!.store.output(id)).toBe(`${id}-${job.attempts}\n`);
          }
          if (job.spec.image === 'nothing') expect(['not-started', 'lost', 'cancelled']).toContain(job.reason);
        }
        expect([host.left, faults]).toEqual([[], []]);
        server!.jobs.close();
        server!.database.close();
      }),
      fuzzing(40),
    );
  });
});

test('a database of the version before becomes one of this, with all that is in it', () => {
  const old = mkdtempSync(join(folder, 'old-'));
  const before = new DatabaseSync(join(old, 'service.db'));
  before.exec(`
    CREATE TABLE tenants (
      name TEXT PRIMARY KEY, sandboxes INTEGER NOT NULL, cpus REAL NOT NULL, memory INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE keys (
      id TEXT PRIMARY KEY, tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
      hash BLOB NOT NULL, created TEXT NOT NULL
    ) STRICT;
    CREATE TABLE sandboxes (
      number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
      tenant TEXT NOT NULL REFERENCES tenants (name), spec TEXT NOT NULL, status TEXT NOT NULL,
      cpus REAL NOT NULL, memory INTEGER NOT NULL,
      created TEXT NOT NULL, started TEXT, ended TEXT, reason TEXT, error TEXT, idempotencyKey TEXT,
      UNIQUE (tenant, idempotencyKey)
    ) STRICT;
    CREATE INDEX sandboxes_by_tenant ON sandboxes (tenant, number);
    CREATE INDEX sandboxes_alive ON sandboxes (tenant) WHERE status <> 'ended';
    INSERT INTO tenants VALUES ('acme', 3, 4, 1000000000);
    INSERT INTO sandboxes (id, tenant, spec, status, cpus, memory, created)
      VALUES ('s', 'acme', '${JSON.stringify(specSchema.parse({ image: 'a', cpus: 2 }))}', 'running', 2, 1, '2026-01-01');
    PRAGMA user_version = 1;`);
  before.close();
  // The second opening changes nothing.
  openDatabase(old).close();
  const opened = openDatabase(old);
  const [tenant] = new TenantStore(opened).list();
  expect(tenant).toEqual({
    name: 'acme',
    sandboxes: 3,
    snapshots: 10,
    jobs: 1000,
    cpus: 4,
    memory: 1e9,
    disk: 50 * GIB,
    files: 4 * GIB,
    rate: '100/s',
  });
  expect(new SandboxStore(opened).alive().map(({ id }) => id)).toEqual(['s']);
  const store = new JobStore(opened);
  store.add(tenant!, HOST, { id: 'large', spec: specOf({ cpus: 3 }) });
  // The sandbox holds what it held, and its disk.
  expect(held(opened)).toEqual({ cpus: 2, memory: 1, disk: GIB });
  expect(store.place(HOST, 'boot')).toBeUndefined();
  const tables = (of: Database) => {
    const rows = of.prepare('SELECT name, sql FROM sqlite_master ORDER BY name').all();
    return JSON.parse(JSON.stringify(rows).replaceAll(/(\s|\\n)+/g, ' '));
  };
  expect(tables(opened)).toEqual(tables(database));
  opened.close();
});
