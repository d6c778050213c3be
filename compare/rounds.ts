// The rounds of a comparison. They alternate between the levels (schedule.ts). One round before them only
// warms up.
import { addNone, addSample, type Compared, fail } from './compared.js';
import { measureCrowd } from './crowd.js';
import { CompareError } from './errors.js';
import { watchLoad } from './host.js';
import { ownName, ownPrefix } from './leftovers.js';
import type { PreparedLevel } from './level.js';
import { type Limit, SHARES } from './limit.js';
import { crowdMeasures, OPERATIONS, PINNING, START } from './measures.js';
import type { CompareOptions } from './options.js';
import { openProbedHost, readProbes } from './probes.js';
import { measureRound } from './round.js';
import { orderOf } from './schedule.js';
import { whyUntraceable } from './surface/reached.js';
import { measureSurface } from './surface/surface.js';
import { measureTcp } from './tcp.js';

/** Times that several sandboxes are started at once: it takes long, and each gives many samples. */
const CROWDS = 2;
/** Milliseconds for which the host is watched before each round. */
const WATCH = 500;

/** What has been done until now. */
export interface Done {
  /** Rounds, the one that warms up apart. */
  rounds: number;
  complete: boolean;
  /** The share of the CPUs that other work used before each round. */
  busy: number[];
  warnings: string[];
}

type Working = Compared & { prepared: PreparedLevel };

/**
 * The levels that have not failed, the next one first in each round.
 * @param share of the limit, after which no further level comes
 */
function* working(compared: readonly Compared[], round: number, limit: Limit, share = 1): Iterable<Working> {
  for (const each of orderOf(compared, round)) {
    limit.signal.throwIfAborted();
    if (limit.isOver(share)) return;
    const { report, prepared } = each;
    if (report.state === 'measured' && prepared !== undefined) yield Object.assign(each, { prepared });
  }
}

/**
 * Measures in rounds, until all are done or the next one would end after the limit.
 * @param folder where the caller's command runs
 * @throws the reason of the signal
 */
export async function measureAll(
  compared: readonly Compared[],
  folder: string,
  done: Done,
  limit: Limit,
  options: CompareOptions,
): Promise<void> {
  const { rounds, signal, atOnce, watch = WATCH } = options;
  const ends = (round: number) => (round + (atOnce > 0 ? CROWDS : 0)) / (rounds + CROWDS);
  let longest = 0;
  for (let round = 0; round <= rounds; round++) {
    if (round === 1 && atOnce > 0) {
      for (let crowd = 0; crowd < CROWDS; crowd++) await crowdAll(compared, crowd, limit, options);
    }
    if (limit.isOver(1, longest)) return;
    const start = limit.now();
    const load = await watchLoad(watch, signal);
    const step = round === 0 ? 'warm-up' : `round ${round} of ${rounds}`;
    for (const each of working(compared, round, limit, round === 0 ? SHARES.warmUp : 1)) {
      options.onStep?.(`${step}: ${each.level.name}`, round === 0 ? 0 : ends(round - 1));
      await measureOnce(each, folder, round === 0 ? 'warm-up' : round, options);
      if (options.tcp === false || each.report.state !== 'measured') continue;
      options.onStep?.(`${step}, TCP: ${each.level.name}`, round === 0 ? 0 : ends(round - 1));
      await measureTcp(each.prepared, {
        ...{ id: `compare-${ownName()}`, time: options.time, signal },
        onSample: (measure, value) => addSample(each, measure, value, round === 0 ? 'warm-up' : round),
        onNone: (measure, reason) => addNone(each, measure, reason),
      });
    }
    if (round === 0) continue;
    if (!isWhole(compared, round)) return;
    done.busy.push(load);
    done.rounds = round;
    longest = Math.max(longest, limit.now() - start);
  }
}

/** True if all levels that have not failed have samples of a round. */
function isWhole(compared: readonly Compared[], round: number): boolean {
  return compared.every(({ report, samples }) => {
    return report.state !== 'measured' || samples.get(START.name)?.rounds.includes(round) === true;
  });
}

/** Says what the limit has left out, of a comparison that no one has ended before. */
export function nameLeftOut(
  compared: readonly Compared[],
  { rounds, warnings }: Done,
  limit: Limit,
  options: CompareOptions,
): void {
  const { atOnce, costs = true, probes, surface } = options;
  const here = compared.filter(({ report }) => report.state === 'measured');
  if (costs && here.length > 0 && rounds < options.rounds) {
    warnings.push(`${rounds} of ${options.rounds} rounds were done within ${limit}`);
  }
  const late: string[] = [];
  for (const { report, samples } of here) {
    const isNamed = (name: string) => report.notMeasured.some((each) => each.name === name);
    const leftOut = (name: string) => {
      if (!isNamed(name)) report.notMeasured.push({ name, reason: `the limit of ${limit} was over` });
    };
    const starts = samples.get(START.name);
    if (probes && report.probes.length === 0) leftOut('probes');
    if (surface && report.surface === undefined) leftOut('surface');
    if (!costs) continue;
    for (const { name } of atOnce > 0 ? Object.values(crowdMeasures(atOnce)) : [])
      if (!samples.has(name)) leftOut(name);
    if (starts === undefined || starts.samples.length === 0) leftOut('rounds');
    else if (starts.warmUp.length === 0) late.push(report.name);
  }
  if (late.length > 0) warnings.push(`not warmed up, because of the limit: ${late.join(', ')}`);
}

async function crowdAll(
  compared: readonly Compared[],
  crowd: number,
  limit: Limit,
  options: CompareOptions,
): Promise<void> {
  const { atOnce, signal, rounds } = options;
  for (const each of working(compared, crowd, limit, SHARES.crowd)) {
    options.onStep?.(`${atOnce} at once: ${each.level.name}`, crowd / (rounds + CROWDS));
    await measureCrowd(each.prepared, {
      ids: Array.from({ length: atOnce }, () => `compare-${ownName()}`),
      signal,
      onSample: (measure, value) => addSample(each, measure, value, crowd),
      onNone: (measure, reason) => addNone(each, measure, reason),
    });
  }
}

/** Looks once from inside of each level. @throws the reason of the signal */
export async function probeAll(compared: readonly Compared[], limit: Limit, options: CompareOptions): Promise<void> {
  await using host = await openProbedHost(ownPrefix());
  for (const each of working(compared, 0, limit, options.costs === false ? 1 : SHARES.probes)) {
    options.onStep?.(`probes: ${each.level.name}`, compared.indexOf(each) / compared.length);
    await measureOnce(each, '/', 'warm-up', options, host.words);
  }
}

/** Looks once at what each level leaves of the host. @throws the reason of the signal */
export async function surfaceAll(
  compared: readonly Compared[],
  done: Done,
  limit: Limit,
  options: CompareOptions,
): Promise<void> {
  const { signal } = options;
  const why = await whyUntraceable(`compare-${ownName()}`, signal);
  if (why !== undefined)
    done.warnings.push(`the functions that levels reach in the host's kernel are not measured: ${why}`);
  for (const each of working(compared, 0, limit, options.costs === false ? 1 : SHARES.surface)) {
    const { report, prepared, bundle, level } = each;
    if (bundle === undefined) continue;
    options.onStep?.(`surface: ${level.name}`, compared.indexOf(each) / compared.length);
    try {
      report.surface = await measureSurface(prepared, {
        id: `compare-${ownName()}`,
        ...{ shared: bundle.shared, folder: bundle.folder, signal, traceable: why === undefined },
        onNone: (name, reason) => report.notMeasured.push({ name, reason }),
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CompareError)) throw error;
      report.notMeasured.push({ name: 'surface', reason: error.message });
    }
  }
}

async function measureOnce(
  each: Working,
  folder: string,
  round: number | 'warm-up',
  { command, programs, time, signal, cpus, operations = OPERATIONS }: CompareOptions,
  probe?: readonly string[],
): Promise<void> {
  const { report, prepared } = each;
  try {
    await measureRound(prepared, {
      id: `compare-${ownName()}`,
      ...{ operations, time, folder, signal },
      ...(command && { command }),
      ...(programs && { programs }),
      ...(cpus && { cpus, onLoose: () => addNone(each, PINNING, 'a process of the level runs on other CPUs') }),
      ...(probe && { probe }),
      onProbed(text) {
        report.probes = readProbes(text);
      },
      onSample: (measure, value) => addSample(each, measure, value, round),
      onNone: (measure, reason) => addNone(each, measure, reason),
      onOutput(text) {
        if (round !== 'warm-up') report.outputs.push(text);
      },
    });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CompareError) return fail(each, error);
    throw error;
  }
}
