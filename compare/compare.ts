// A comparison: the image's files are put on the host once, each level is prepared, and then the
// rounds alternate between the levels.
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../errors/index.js';
import { Home, type Progress } from '../sandbox/index.js';
import { CompareError } from './errors.js';
import { addGauge } from './gauge-image.js';
import { describeHost, warnOfLoad, watchLoad } from './host.js';
import { makeFolder, ownName, removeLeftovers } from './leftovers.js';
import type { Bundle, Level, PreparedLevel } from './level.js';
import { type Measure, OPERATIONS, type Operation } from './measures.js';
import { openProbedHost, readProbes } from './probes.js';
import type { LevelReport, Report } from './report.js';
import { measureRound } from './round.js';
import { orderOf } from './schedule.js';
import { summarize } from './statistics.js';

export interface CompareOptions {
  image: string;
  levels: readonly Level[];
  rounds: number;
  /** Bytes that each sandbox may use. */
  memory: number;
  /** Milliseconds that each operation is repeated for, at least. */
  time: number;
  command?: readonly string[];
  operations?: readonly Operation[];
  /** Looks at what the levels see and reach, and measures nothing. */
  probes?: boolean;
  /** The version of tsvm. */
  version: string;
  home?: Home;
  signal: AbortSignal;
  onPull?(progress: Progress): void;
  /** Called before each step, with the share of the work that is done. */
  onStep?(text: string, share: number): void;
}

/** A level while it is compared. */
interface Compared {
  report: LevelReport;
  level: Level;
  prepared?: PreparedLevel;
  samples: Map<Measure, { samples: number[]; warmUp: number[] }>;
}

/** Directories of the rootfs that levels mount on. */
const MOUNT_POINTS = ['proc', 'dev', 'sys', 'tmp'];

/**
 * Compares levels. If `signal` ends it, the report has what is done.
 * @throws ImageError, CompareError if there is nothing to report
 */
export async function compare(options: CompareOptions): Promise<Report> {
  const { levels, signal, home = new Home() } = options;
  const started = new Date().toISOString();
  const compared = levels.map((level) => newCompared(level));
  const busy: number[] = [];
  const image = await home.images.resolve(options.image, {
    pull: 'missing',
    ...(options.onPull && { onProgress: options.onPull }),
  });
  await removeLeftovers(home);
  const folder = makeFolder();
  let complete = false;
  try {
    for (const each of compared) await look(each);
    options.onStep?.("copying the image's files", 0);
    const rootfs = join(folder, 'rootfs');
    mkdirSync(rootfs);
    await using withGauge = await addGauge(home.images, image.digest);
    await (await home.images.open(withGauge.digest)).extract('/', rootfs);
    addMountPoints(rootfs);
    for (const [index, each] of compared.entries()) {
      if (each.report.state !== 'measured') continue;
      const own = join(folder, `level-${index}`);
      mkdirSync(own);
      const bundle = { image: withGauge.digest, config: image.config, rootfs, folder: own, memory: options.memory };
      await prepare(each, bundle, signal);
    }
    complete = options.probes
      ? await probeAll(compared, options)
      : await measureAll(compared, image.config.WorkingDir || '/', busy, options);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    for (const { prepared } of compared) await prepared?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    format: 'tsvm-compare-1',
    started,
    ended: new Date().toISOString(),
    complete,
    host: describeHost(options.version),
    image: { name: options.image, digest: image.digest },
    rounds: options.probes ? 0 : options.rounds,
    memory: options.memory,
    command: [...(options.command ?? [])],
    busy,
    warnings: warnOfLoad(busy),
    levels: compared.map(toReport),
  };
}

function newCompared(level: Level): Compared {
  const { name, summary } = level;
  const report = { name, summary, state: 'measured' as const, measures: [], notMeasured: [], probes: [], outputs: [] };
  return { level, report, samples: new Map() };
}

async function look({ level, report }: Compared): Promise<void> {
  const missing = await level.missing();
  if (missing !== undefined) Object.assign(report, { state: 'missing', ...missing });
}

function fail({ report }: Compared, error: unknown): void {
  Object.assign(report, {
    state: 'failed',
    reason: messageOf(error)
      .trim()
      .replace(/\s*\n\s*/g, ': '),
  });
}

function addMountPoints(rootfs: string): void {
  // Levels with users of their own go through it.
  chmodSync(rootfs, 0o755);
  chmodSync(join(rootfs, '..'), 0o711);
  for (const name of MOUNT_POINTS) if (!existsSync(join(rootfs, name))) mkdirSync(join(rootfs, name));
}

async function prepare(each: Compared, bundle: Bundle, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    each.prepared = await each.level.prepare(bundle);
    const { version, limitsMemory } = each.prepared;
    Object.assign(each.report, { version, limitsMemory });
  } catch (error) {
    fail(each, error);
  }
}

/** Measures all rounds, the first of which only warms up. Returns false if `signal` ended it. */
async function measureAll(
  compared: readonly Compared[],
  folder: string,
  busy: number[],
  options: CompareOptions,
): Promise<boolean> {
  const { rounds, signal } = options;
  const works = () => compared.some(({ report, prepared }) => report.state === 'measured' && prepared !== undefined);
  for (let round = 0; round <= rounds && works(); round++) {
    const isWarmUp = round === 0;
    const load = await watchLoad(signal);
    if (!isWarmUp) busy.push(load);
    for (const [index, each] of orderOf(compared, round).entries()) {
      signal.throwIfAborted();
      if (each.report.state !== 'measured' || each.prepared === undefined) continue;
      const step = isWarmUp ? 'warm-up' : `round ${round} of ${rounds}`;
      options.onStep?.(`${step}: ${each.level.name}`, (round + index / compared.length) / (rounds + 1));
      await measureOnce(each, each.prepared, folder, isWarmUp, options);
    }
  }
  return true;
}

/** Looks once from inside of each level. */
async function probeAll(compared: readonly Compared[], options: CompareOptions): Promise<boolean> {
  await using host = await openProbedHost();
  for (const [index, each] of compared.entries()) {
    if (each.report.state !== 'measured' || each.prepared === undefined) continue;
    options.onStep?.(`probes: ${each.level.name}`, index / compared.length);
    await measureOnce(each, each.prepared, '/', false, options, host.words);
  }
  return true;
}

async function measureOnce(
  each: Compared,
  prepared: PreparedLevel,
  folder: string,
  isWarmUp: boolean,
  { command, time, signal, operations = OPERATIONS }: CompareOptions,
  probe?: readonly string[],
): Promise<void> {
  const { report, samples } = each;
  try {
    await measureRound(prepared, {
      id: `compare-${ownName()}`,
      ...{ operations, time, folder, signal },
      ...(command && { command }),
      ...(probe && { probe }),
      onProbed(text) {
        report.probes = readProbes(text);
      },
      onSample(measure, value) {
        const found = samples.get(measure) ?? { samples: [], warmUp: [] };
        samples.set(measure, found);
        (isWarmUp ? found.warmUp : found.samples).push(value);
      },
      onNone({ name }, reason) {
        if (!report.notMeasured.some((other) => other.name === name)) report.notMeasured.push({ name, reason });
      },
      onOutput(text) {
        if (!isWarmUp) report.outputs.push(text);
      },
    });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CompareError) return fail(each, error);
    throw error;
  }
}

function toReport({ report, samples }: Compared): LevelReport {
  const measures = [...samples]
    .filter(([, { samples: found }]) => found.length > 0)
    .map(([{ name, title, unit }, found]) => ({ name, title, unit, ...found, ...summarize(found.samples) }));
  return { ...report, measures };
}
