// The server, supervisors and processes of machines are killed at random while tenants submit jobs.
// No job is lost unless a process of its own machine was killed, none runs twice unless it says so,
// nothing is left, and what the server counts as held is what there is. TSVM_KILLS=200
// TSVM_KILLS_SEED=2 kill more, and others.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Container } from '../../sandbox/containers/container.js';
import type { Home } from '../../sandbox/home/home.js';
import { Random } from '../fixtures/random.js';
import { uml } from './machine.js';
import { homeOfMixedJobs, type MixedJob, mixedJob } from './mixed-jobs.js';
import { list } from './own-home.js';
import { Served } from './served.js';
import { heldByProcesses, rolesOf, usersOf } from './service-processes.js';

const KILLS = Number(process.env.TSVM_KILLS ?? 8);
const SEED = Number(process.env.TSVM_KILLS_SEED ?? 1);
const TENANTS = ['one', 'two'];
const ROLES = ['server', 'supervisor', 'launcher', 'machine', 'kernel'];
/** Jobs of a tenant that have not ended. */
const WAITING = 5;
/** Milliseconds between two kills, at most. */
const PAUSE = 2000;

interface Submitted extends MixedJob {
  id: string;
}

/** A server that is killed and started again, and what was killed. */
class Killer {
  readonly served: Served;
  readonly random: Random;
  readonly done: Record<string, number> = {};
  /** Names of containers of which a process was killed. */
  readonly hit = new Set<string>();
  readonly #runtime: string;

  constructor(served: Served, random: Random, runtime: string) {
    this.served = served;
    this.random = random;
    this.#runtime = runtime;
  }

  async start(): Promise<void> {
    // Fewer CPUs than wanted: jobs are queued, start and run at each moment.
    await this.served.start({ XDG_RUNTIME_DIR: this.#runtime }, 0, ['--cpus', '3']);
  }

  /** The processes of machines that run, by what they are. */
  #found(): { role: string; pid?: number; container?: string }[] {
    const supervised = TENANTS.flatMap((tenant) => Container.list(this.served.home(tenant)));
    return supervised.flatMap(({ name: container = '', state: { supervisorPid } }) => {
      const roles = supervisorPid === undefined ? [] : [...rolesOf(supervisorPid)];
      return roles.flatMap(([role, pids]) => pids.map((pid) => ({ role, pid, container })));
    });
  }

  /** Kills one process: of a role that was not killed yet, if there is one. */
  async kill(): Promise<void> {
    const { random } = this;
    const fresh = ROLES.filter((name) => this.done[name] === undefined);
    const role = random.pick(fresh.length > 0 ? fresh : ROLES);
    const found = () => this.#found().filter((each) => each.role === role);
    let all = role === 'server' ? [{ role }] : found();
    for (; all.length === 0; all = found()) await sleep(20);
    const { pid, container } = random.pick<ReturnType<typeof found>[number]>(all);
    if (container !== undefined) this.hit.add(container);
    if (pid === undefined) {
      await this.served.end('SIGKILL');
      await sleep(random.below(1000));
      await this.start();
    } else {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has just ended.
        return;
      }
    }
    this.done[role] = (this.done[role] ?? 0) + 1;
  }
}

/** Jobs of each tenant that run on when the kills are over. */
const RUNNING = 1;
const [MEMORY, DISK] = [128 * 2 ** 20, 64 * 2 ** 20];

/** The cgroups of a tenant's machines and their supervisors, where the host gives them any. */
function cgroupsOf(home: Home): string[] {
  const states = Container.list(home).map(({ state }) => state);
  return states.flatMap(({ cgroup, supervisorCgroup }) =>
    [cgroup, supervisorCgroup].filter((path) => path !== undefined),
  );
}

/**
 * What the server counts as held is what there is on the host: that of jobs that run, and nothing
 * after their end.
 */
async function compareHeld(served: Served, keys: ReadonlyMap<string, string>): Promise<void> {
  const running: { key: string; id: string }[] = [];
  for (const key of keys.values()) {
    for (let n = 0; n < RUNNING; n++) {
      running.push({ key, id: await served.submit(key, ['sleep', '100000'], { memory: MEMORY, disk: DISK }) });
    }
  }
  for (const { key, id } of running) await served.jobThatIs(key, id, 'running');
  const there = heldByProcesses(served.data);
  for (const [name, key] of keys) {
    expect(await served.share(key)).toEqual({ cpus: RUNNING, memory: RUNNING * MEMORY, disk: RUNNING * DISK });
    expect(there.get(name)).toEqual({ machines: RUNNING, memory: RUNNING * MEMORY });
    const runs = served.left(name).filter((each) => each.startsWith('job-'));
    expect(new Set(runs).size).toBe(RUNNING);
  }
  const cgroups = [...keys.keys()].flatMap((name) => cgroupsOf(served.home(name)));
  for (const path of cgroups) expect(existsSync(path), path).toBe(true);
  for (const { key, id } of running) {
    expect((await served.call(key, 'POST', `/${id}/cancel`, undefined, {}, 'jobs')).status).toBe(200);
    await served.jobThatIs(key, id, 'ended');
  }
  for (const key of keys.values()) expect(await served.share(key)).toEqual({ cpus: 0, memory: 0, disk: 0 });
  // A run is removed after its end is recorded.
  await expect.poll(() => cgroups.filter((path) => existsSync(path))).toEqual([]);
}

/** What a tenant asks, again until the server is there. */
async function ask(served: Served, key: string, method: string, path: string, body?: object, headers = {}) {
  for (;;) {
    try {
      return await served.call(key, method, path, body, headers, 'jobs');
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error;
      await sleep(50);
    }
  }
}

/** Submits jobs as others end, until `isOver`. Then waits for the end of all. */
async function load(served: Served, name: string, key: string, random: Random, isOver: () => boolean) {
  const jobs: Submitted[] = [];
  let ended = 0;
  const isEnded = async () => (await ask(served, key, 'GET', `/${jobs[ended]?.id}`)).body.status === 'ended';
  while (!isOver() || ended < jobs.length) {
    if (!isOver() && jobs.length < ended + WAITING) {
      const job = mixedJob(random, `${name}-${jobs.length}`);
      const { status, body } = await ask(served, key, 'POST', '', job.spec, { 'Idempotency-Key': `${jobs.length}` });
      expect(status).toBe(201);
      jobs.push({ ...job, id: body.id });
    } else if (await isEnded()) ended++;
    else await sleep(100);
  }
  return jobs;
}

/** How often the program of each run was started, by the name of its container. */
function starts(home: string): Map<string, number> {
  const count = new Map<string, number>();
  for (const file of ['events.json.1', 'events.json']) {
    let text = '';
    try {
      text = readFileSync(`${home}/containers/${file}`, 'utf8');
    } catch {
      // There were too few for a second one.
    }
    for (const line of text.split('\n').filter(Boolean)) {
      const { Action, Actor } = JSON.parse(line);
      const { name } = Actor.Attributes;
      if (Action === 'start') count.set(name, (count.get(name) ?? 0) + 1);
    }
  }
  return count;
}

test(
  `no job is lost or runs twice unseen beside ${KILLS} kills of servers, supervisors and machines`,
  async () => {
    using home = await homeOfMixedJobs();
    const runtime = mkdtempSync('/tmp/tsvm-serve-kills-');
    await using served = new Served(uml);
    const random = new Random(SEED);
    const killer = new Killer(served, random, runtime);
    const keys = new Map<string, string>();
    for (const name of TENANTS) keys.set(name, await served.tenant(name, ['--rate', 'none'], home.path));
    await killer.start();
    let isOver = false;
    const loads = [...keys].map(async ([name, key]) => {
      const jobs = await load(served, name, key, new Random(random.below(2 ** 32)), () => isOver);
      return { name, key, jobs };
    });
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(random.below(PAUSE));
      await killer.kill();
    }
    isOver = true;
    const all = await Promise.all(loads);

    const told = `seed ${SEED}: ${JSON.stringify(killer.done)}`;
    const reasons: Record<string, number> = {};
    for (const { name, key, jobs } of all) {
      const begun = starts(served.home(name).path);
      for (const job of jobs) {
        const { kind } = job;
        const record = await served.job(key, job.id);
        const { reason = '', exitCode, attempts } = record;
        reasons[reason] = (reasons[reason] ?? 0) + 1;
        const runs = Array.from({ length: attempts }, (_, n) => `${job.id}-${n + 1}`);
        const isHit = runs.some((run) => killer.hit.has(run));
        // Each run was told, and began once at most.
        const of = [...begun].filter(([run]) => run.startsWith(job.id));
        expect(
          of.filter(([run, count]) => count > 1 || !runs.includes(run)),
          `${told} ${kind}`,
        ).toEqual([]);
        const said = await served.output(key, job.id);
        const text = (name: string) => said.flatMap(({ stream, log }) => (stream === name ? [log] : [])).join('');
        const [stdout, stderr] = [text('stdout'), text('stderr')];
        if (isHit && (reason === 'lost' || attempts > job.attempts)) {
          expect(attempts, told).toBeLessThanOrEqual(job.retries + 1);
          expect(job.stdout.startsWith(stdout) && job.stderr.startsWith(stderr), JSON.stringify(said)).toBe(true);
          continue;
        }
        expect({ kind, reason, exitCode, attempts, stdout, stderr }, `${told} ${JSON.stringify(record)}`).toEqual({
          ...{ kind, reason: job.reason, exitCode: job.exitCode, attempts: job.attempts },
          ...{ stdout: job.stdout, stderr: job.stderr },
        });
      }
      const { body } = await served.call(key, 'GET', '?limit=100', undefined, {}, 'jobs');
      const ids = jobs.map(({ id }) => id).reverse();
      expect(body.jobs.map(({ id }) => id)).toEqual(ids.slice(0, 100));
      await expect.poll(() => served.left(name)).toEqual([]);
    }
    await compareHeld(served, keys);
    for (const name of keys.keys()) await expect.poll(() => served.left(name)).toEqual([]);
    expect(Object.keys(killer.done).length).toBeGreaterThan(1);
    if (process.env.TSVM_KILLS !== undefined) console.log(JSON.stringify({ done: killer.done, reasons }));
    expect(heldByProcesses(served.data)).toEqual(new Map());
    expect(list(`${served.data}/files`).flatMap((name) => list(`${served.data}/files/${name}`))).toEqual([]);
    expect(await served.end('SIGTERM')).toBe(0);
    await expect.poll(() => usersOf(served.data)).toEqual([]);
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    expect(mounts.filter((line) => line.includes(served.data) || line.includes(runtime))).toEqual([]);
    const sockets = list(`${runtime}/tsvm`).filter((name) => name !== 'networks' && name !== 'lock');
    expect(sockets).toEqual([]);
    rmSync(runtime, { recursive: true });
  },
  600_000 + KILLS * 30_000,
);
