// Two tenants, one of them hostile: it takes all that it can of one resource of the host after the
// other. What the other one notices is measured. Each has a CPU of its own, as cgroups give it to a
// tenant: processes of each stay on theirs by sched_setaffinity(2). Each storm stands still and goes
// on in turn, so each ratio compares two measurements that are close in time.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { SUPERVISOR_LIMITS } from '../../sandbox/cgroup/limits.js';
import type { Container } from '../../sandbox/containers/container.js';
import { buildPrograms } from '../fixtures/tenants/programs.js';
import { startServer } from '../fixtures/tenants/server.js';
import { BOUNDS, HOST, STORMS } from '../fixtures/tenants/storms.js';
import { execIn, Tenant } from '../fixtures/tenants/tenant.js';
import type { Totals } from '../fixtures/tenants/totals.js';
import { busyProgram, type Disturbance, startStorm } from './disturbances.js';
import { type Benchmark, type Measurement, measurement, median, need, percentile } from './measurement.js';
import { TENANT_SOURCES } from './paths.js';
import { cpuTime } from './proc.js';

/** How often each thing is measured beside a storm that stands still, and again while it goes on. */
const EXECS = 40;
const READS = 500;
const CONNECTIONS = 150;
/** The most that a storm may slow the other tenant down. */
const GOAL = 1.25;
/** The most of a CPU that a storm may make the owner of its machine take. */
const OWNER_GOAL = SUPERVISOR_LIMITS.cpuQuota / SUPERVISOR_LIMITS.cpuPeriod;

const KINDS = ['exec', 'disk read', 'connection'] as const;
/** Milliseconds of each. */
type Noticed = Record<(typeof KINDS)[number], number[]>;

async function notice(container: Container, port: number): Promise<Noticed> {
  const exec: number[] = [];
  for (let each = 0; each < EXECS; each++) {
    const start = performance.now();
    await execIn(container, 'true');
    exec.push(performance.now() - start);
  }
  const probe = async (...words: string[]) => {
    const said = await execIn(container, '/probe', ...words);
    return said
      .trim()
      .split('\n')
      .map((nanoseconds) => Number(nanoseconds) / 1e6);
  };
  return {
    exec,
    'disk read': await probe('read', '/file', String(READS)),
    connection: await probe('connect', HOST, String(port), String(CONNECTIONS)),
  };
}

/** Returns the ratios of what was noticed beside a storm and alone: of all, and of each pair of rounds. */
function compare(name: string, alone: readonly Noticed[], beside: readonly Noticed[]): Measurement[] {
  return KINDS.flatMap((kind) =>
    Object.entries({ median, '99th percentile': (samples: readonly number[]) => percentile(samples, 99) }).map(
      ([what, pick]) => {
        const of = (rounds: readonly Noticed[]) => pick(rounds.flatMap((round) => round[kind]));
        const samples = alone.map((round, index) => of([beside[index] ?? round]) / of([round]));
        const all = { ...measurement(`${name}: ${kind}, ${what}`, 'ratio', samples), value: of(beside) / of(alone) };
        return { ...all, goal: GOAL };
      },
    ),
  );
}

/** Measures in turn: beside the disturbance that stands still, and while it goes on. */
async function alternate(disturbance: Disturbance, rounds: number, measure: () => Promise<Noticed>) {
  const alone: Noticed[] = [];
  const beside: Noticed[] = [];
  const owner: number[] = [];
  for (let round = 0; round < rounds; round++) {
    alone.push(await measure());
    await disturbance.goOn();
    const [start, before] = [performance.now(), ownerTime(disturbance)];
    beside.push(await measure());
    owner.push((ownerTime(disturbance) - before) / (performance.now() - start));
    await disturbance.standStill();
  }
  const { name } = disturbance;
  const ownerShare = { ...measurement(`${name}: CPUs of the owner of its machine`, 'ratio', owner), goal: OWNER_GOAL };
  const ratios = compare(name, alone, beside);
  return { alone, beside, ratios: disturbance.owner === undefined ? ratios : [...ratios, ownerShare] };
}

/** Milliseconds of CPU time. */
function ownerTime({ owner }: Disturbance): number {
  return owner === undefined ? 0 : cpuTime(owner);
}

/** Keeps the threads of this process on one CPU, until disposal. */
function pin(cpu: number): Disposable {
  const stay = (cpus: string) => execFileSync('taskset', ['-acp', cpus, String(process.pid)], { stdio: 'ignore' });
  const before = /^Cpus_allowed_list:\s+(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  stay(String(cpu));
  return { [Symbol.dispose]: () => stay(need(before, 'CPU')) };
}

export const tenants: Benchmark = {
  name: 'tenants',
  title: 'What a tenant notices of a hostile one, each on a CPU of its own: ratios to the same alone',
  needsKvm: false,
  async measure({ runs, image }) {
    const [own, hostile] = [0, availableParallelism() - 1];
    if (own === hostile) throw new Error('two tenants need two CPUs');
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    try {
      const programs = buildPrograms(TENANT_SOURCES, folder);
      // This process measures for the tenant that is disturbed.
      using _ = pin(own);
      using server = await startServer(own);
      using target = await startServer(hostile);
      using disturbed = new Tenant(own);
      using hostileTenant = new Tenant(hostile);
      const options = ['--allow-net', `host-gateway:${server.port}`, ...programs];
      const container = disturbed.container(disturbed.tsvm('run', '-d', ...options, image, 'sleep', '100000'));
      const measure = () => notice(container, server.port);
      // The first of each are slower.
      await measure();
      const alone: Noticed[] = [];
      const beside: Noticed[] = [];
      const ratios: Measurement[] = [];
      const totals: Totals[] = [];
      const disturb = async (disturbance: Disturbance) => {
        process.stderr.write(`  beside: ${disturbance.name}\n`);
        const found = await alternate(disturbance, runs, measure);
        ratios.push(...found.ratios);
        return found;
      };
      {
        using program = busyProgram(hostile);
        await disturb(program);
      }
      for (const storm of STORMS) {
        using disturbance = await startStorm(hostileTenant, storm, { image, programs, port: target.port });
        const found = await disturb(disturbance);
        alone.push(...found.alone);
        beside.push(...found.beside);
        totals.push(hostileTenant.totals(disturbance.container));
      }
      // One storm's 99th percentile is that of few samples.
      return [...times(alone), ...ratios, ...compare('all storms', alone, beside), ...taken(totals)];
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

/** What the tenant measures alone, in each round. */
function times(alone: readonly Noticed[]): Measurement[] {
  return KINDS.flatMap((kind) => [
    measurement(
      `alone: ${kind}, median`,
      'ms',
      alone.map((round) => median(round[kind])),
    ),
    measurement(
      `alone: ${kind}, 99th percentile`,
      'ms',
      alone.map((round) => percentile(round[kind], 99)),
    ),
  ]);
}

/** What the hostile tenant had of the host beside each storm. */
function taken(totals: readonly Totals[]): Measurement[] {
  const most = (name: string, unit: Measurement['unit'], pick: (each: Totals) => number) => {
    const samples = totals.map(pick);
    return { ...measurement(name, unit, samples), value: Math.max(...samples), goal: pick(BOUNDS) };
  };
  return [
    most('hostile: memory of its machine beside the guest', 'MiB', ({ memory }) => memory),
    most('hostile: memory of the owner', 'MiB', ({ owner }) => owner),
    most('hostile: threads', 'count', ({ threads }) => threads),
    most('hostile: descriptors', 'count', ({ descriptors }) => descriptors),
    most('hostile: its home on the disk', 'MiB', ({ disk }) => disk),
    most('hostile: files of its home', 'count', ({ files }) => files),
  ];
}
