// Many tenants submit jobs of several images at once, and cancel some: each result is right, no
// output is another's, and what processes of the host hold stays within each tenant's share.
// TSVM_TENANTS=10 TSVM_JOBS=500 TSVM_SEED=2 make it larger, and another one: with --testTimeout=3600000.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Random } from '../fixtures/random.js';
import { uml } from './machine.js';
import { homeOfMixedJobs, type MixedJob, mixedJob } from './mixed-jobs.js';
import { list } from './own-home.js';
import { type Body, Served } from './served.js';
import { type Held, heldByProcesses } from './service-processes.js';

const TENANTS = Number(process.env.TSVM_TENANTS ?? 4);
const JOBS = Number(process.env.TSVM_JOBS ?? 24);
const SEED = Number(process.env.TSVM_SEED ?? 1);
const MIB = 2 ** 20;
/** Of a tenant, and of all together: less than all want at once. */
const SHARE = { cpus: 2, memory: 400 * MIB };
const HOST = { cpus: 4, memory: 900 * MIB };
const CANCELLED = 0.15;
/** Milliseconds between looks at what the host's processes hold. */
const PAUSE = 100;
const BATCH = 5;

/** The most that was held at one moment. */
class Sampler {
  readonly most = new Map<string, Held>();
  readonly all: Held = { machines: 0, memory: 0 };
  samples = 0;
  readonly #data: string;
  #isOver = false;

  constructor(data: string) {
    this.#data = data;
  }

  async run(): Promise<void> {
    while (!this.#isOver) {
      const held = heldByProcesses(this.#data);
      for (const [tenant, each] of held) this.most.set(tenant, greater(this.most.get(tenant), each));
      const sum = (what: keyof Held) => [...held.values()].reduce((total, each) => total + each[what], 0);
      Object.assign(this.all, greater(this.all, { machines: sum('machines'), memory: sum('memory') }));
      this.samples++;
      await sleep(PAUSE);
    }
  }

  end(): void {
    this.#isOver = true;
  }
}

const greater = (a: Held = { machines: 0, memory: 0 }, b: Held): Held => ({
  machines: Math.max(a.machines, b.machines),
  memory: Math.max(a.memory, b.memory),
});

interface Submitted extends MixedJob {
  id: string;
  isCancelled: boolean;
}

class LoadedTenant {
  readonly name: string;
  readonly key: string;
  readonly #served: Served;
  readonly #random: Random;
  readonly jobs: Submitted[] = [];

  constructor(served: Served, name: string, key: string, random: Random) {
    this.#served = served;
    this.name = name;
    this.key = key;
    this.#random = random;
  }

  /** One by one, and in batches; each request of a part of them is sent twice. */
  async submit(count: number): Promise<void> {
    const random = this.#random;
    while (this.jobs.length < count) {
      const size = random.chance(0.5) ? 1 : Math.min(BATCH, count - this.jobs.length);
      const jobs = Array.from({ length: size }, (_, n) => mixedJob(random, `${this.name}-${this.jobs.length + n}`));
      const headers = { 'Idempotency-Key': `${this.jobs.length}` };
      const body = size === 1 ? jobs[0]?.spec : { jobs: jobs.map(({ spec }) => spec) };
      const send = () => this.#served.call(this.key, 'POST', size === 1 ? '' : '/batch', body, headers, 'jobs');
      const answers = [await send(), ...(random.chance(0.2) ? [await send()] : [])];
      const ids = answers.map(({ body: of }) => (size === 1 ? [of.id] : of.jobs.map(({ id }) => id)));
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
      for (const each of ids) expect(each).toEqual(ids[0]);
      for (const [n, job] of jobs.entries()) {
        this.jobs.push({ ...job, id: ids[0]?.[n] ?? '', isCancelled: random.chance(CANCELLED) });
      }
    }
  }

  /** Each at a moment of its own. */
  async cancel(): Promise<void> {
    const cancelled = this.jobs.filter(({ isCancelled }) => isCancelled);
    while (cancelled.length > 0) {
      await sleep(this.#random.below(3000));
      const [job] = cancelled.splice(this.#random.below(cancelled.length), 1);
      const { status } = await this.#served.call(this.key, 'POST', `/${job?.id}/cancel`, undefined, {}, 'jobs');
      expect(status).toBe(200);
    }
  }

  /** Waits for the end of all, and compares each. Returns how many ended for which reason. */
  async check(): Promise<Map<string, number>> {
    const reasons = new Map<string, number>();
    for (const job of this.jobs) {
      const ended = await this.#ended(job.id);
      const said = await this.#served.output(this.key, job.id);
      const of = (name: string) => said.flatMap(({ stream, log }) => (stream === name ? [log] : [])).join('');
      const [stdout, stderr] = [of('stdout'), of('stderr')];
      const { reason = '', exitCode, attempts } = ended;
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      if (job.isCancelled && reason === 'cancelled') {
        expect(job.stdout.startsWith(stdout) && job.stderr.startsWith(stderr), JSON.stringify([job, said])).toBe(true);
        continue;
      }
      const { kind, spec } = job;
      expect({ kind, spec, reason, exitCode, attempts, stdout, stderr }, ended.error).toEqual({
        ...{ kind, spec, reason: job.reason, exitCode: job.exitCode, attempts: job.attempts },
        ...{ stdout: job.stdout, stderr: job.stderr },
      });
    }
    return reasons;
  }

  async #ended(id: string): Promise<Body> {
    for (;;) {
      const job = await this.#served.job(this.key, id);
      if (job.status === 'ended') return job;
      await sleep(100);
    }
  }
}

test(`${TENANTS} tenants run ${JOBS} jobs of several images, each right, apart and within its share`, async () => {
  using home = await homeOfMixedJobs();
  await using served = new Served(uml);
  const random = new Random(SEED);
  const share = ['--cpus', String(SHARE.cpus), '--memory', String(SHARE.memory), '--rate', 'none'];
  const tenants: LoadedTenant[] = [];
  for (let n = 0; n < TENANTS; n++) {
    const key = await served.tenant(`t${n}`, share, home.path);
    tenants.push(new LoadedTenant(served, `t${n}`, key, new Random(random.below(2 ** 32))));
  }
  await served.start({}, 0, ['--cpus', String(HOST.cpus), '--memory', String(HOST.memory)]);
  const sampler = new Sampler(served.data);
  const sampling = sampler.run();
  const each = async (tenant: LoadedTenant) => {
    await tenant.submit(Math.ceil(JOBS / TENANTS));
    const [reasons] = await Promise.all([tenant.check(), tenant.cancel()]);
    return [...reasons];
  };
  const reasons = await Promise.all(tenants.map(each));
  sampler.end();
  await sampling;

  // It has seen machines.
  expect(sampler.all.machines).toBeGreaterThan(0);
  for (const { machines, memory } of sampler.most.values()) {
    expect(machines).toBeLessThanOrEqual(SHARE.cpus);
    expect(memory).toBeLessThanOrEqual(SHARE.memory);
  }
  expect(sampler.all.machines).toBeLessThanOrEqual(HOST.cpus);
  expect(sampler.all.memory).toBeLessThanOrEqual(HOST.memory);
  if (process.env.TSVM_JOBS !== undefined)
    console.log(JSON.stringify({ reasons, ...sampler.all, samples: sampler.samples }));

  // A job is removed after its end is recorded.
  for (const { name } of tenants) await expect.poll(() => served.left(name)).toEqual([]);
  expect(heldByProcesses(served.data)).toEqual(new Map());
  expect(list(`${served.data}/files`).flatMap((name) => list(`${served.data}/files/${name}`))).toEqual([]);
  expect(await served.end('SIGTERM')).toBe(0);
});

test('a tenant with many queued jobs delays the single one of another by one job', async () => {
  await using served = new Served(uml);
  const share = ['--rate', 'none'];
  const [many, single] = [await served.tenant('many', share), await served.tenant('single', share)];
  // One job runs at a time, so that they start in the order of their places.
  await served.start({}, 0, ['--cpus', '1']);
  const spec = { image: 'debian:12', memory: 128 * MIB, command: ['true'] };
  const batch = { jobs: Array.from({ length: 100 }, () => spec) };
  for (let n = 0; n < 4; n++) expect((await served.call(many, 'POST', '/batch', batch, {}, 'jobs')).status).toBe(201);
  for (let n = 0; n < 3; n++) {
    const id = await served.submit(single, ['true']);
    const { created, started } = (await served.jobThatIs(single, id, 'ended')) as unknown as Record<string, string>;
    const { jobs } = (await served.call(many, 'GET', '?status=ended&limit=100', undefined, {}, 'jobs')).body;
    const between = (jobs as unknown as Record<string, string>[]).filter(
      (job) => created! < job.started! && job.started! < started!,
    );
    // The one that was about to start.
    expect(between.length).toBeLessThanOrEqual(1);
    expect((await served.call(many, 'GET', '?status=queued&limit=1', undefined, {}, 'jobs')).body.jobs).toHaveLength(1);
  }
});
