// A comparison: the image's files are put on the host once, each level is prepared, and then the
// rounds alternate between the levels.
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Home } from '../sandbox/index.js';
import { type Compared, fail, newCompared, toReports } from './compared.js';
import { flush, unlessAborted } from './ending.js';
import { addGauge } from './gauge-image.js';
import { describeHost, warnOfLoad } from './host.js';
import { makeFolder, removeLeftovers } from './leftovers.js';
import type { Bundle } from './level.js';
import { Limit } from './limit.js';
import type { CompareOptions } from './options.js';
import { pinLevel, startPinned } from './pinning.js';
import { programsIn } from './programs.js';
import type { Report } from './report.js';
import { type Done, measureAll, nameLeftOut, probeAll, surfaceAll } from './rounds.js';
import { FEWEST, FEWEST_PAIRS } from './statistics.js';

/** Directories of the rootfs that levels mount on. systemd-nspawn takes no root without the last. */
const MOUNT_POINTS = ['proc', 'dev', 'sys', 'tmp', 'run', 'usr'];

/**
 * Compares levels. If `signal` or the limit ends it, the report has what is done.
 * @throws ImageError, CompareError if there is nothing to report
 */
export async function compare(options: CompareOptions): Promise<Report> {
  const { levels, signal, home = new Home() } = options;
  const started = new Date().toISOString();
  const compared = levels.map((level) => newCompared(level));
  const done: Done = { rounds: 0, complete: false, busy: [], warnings: [] };
  // Before anything is made: whether this program may use the CPUs.
  startPinned(options.cpus, () => {});
  const image = await home.images.resolve(options.image, {
    pull: 'missing',
    ...(options.onPull && { onProgress: options.onPull }),
  });
  options.onImage?.();
  // A download is no part of the time that the comparison may take.
  using limit = new Limit(options.limit, signal, options.now ?? (() => performance.now()));
  const folder = makeFolder();
  try {
    await unlessAborted(removeLeftovers(home), limit.signal);
    for (const each of compared) await look(each, limit.signal);
    if (compared.some(isHere)) await measure(compared, image, { folder, home, done, limit }, options);
    done.complete = true;
  } catch (error) {
    if (!limit.signal.aborted) throw error;
    // An end by the limit is as the caller has asked for it.
    done.complete = !signal.aborted;
  } finally {
    for (const { prepared } of compared) await prepared?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  }
  if (done.complete) nameLeftOut(compared, done, limit, options);
  return {
    format: 'tsvm-compare-2',
    started,
    ended: new Date().toISOString(),
    complete: done.complete,
    host: describeHost(options.version),
    image: { name: options.image, digest: image.digest },
    rounds: done.rounds,
    memory: options.memory,
    pinned: [...(options.cpus ?? [])],
    command: [...(options.command ?? [])],
    busy: done.busy,
    warnings: [...done.warnings, ...warnOfRounds(done.rounds), ...warnOfLoad(done.busy)],
    levels: toReports(compared),
  };
}

/** A level that this host has, and that has not failed. */
const isHere = ({ report }: Compared): boolean => report.state === 'measured';

/** Measures the levels that this host has. @throws the reason of the signal */
async function measure(
  compared: readonly Compared[],
  image: Awaited<ReturnType<Home['images']['resolve']>>,
  { folder, home, done, limit }: { folder: string; home: Home; done: Done; limit: Limit },
  given: CompareOptions,
): Promise<void> {
  const options = { ...given, signal: limit.signal };
  options.onStep?.("copying the image's files", 0);
  const rootfs = join(folder, 'rootfs');
  mkdirSync(rootfs);
  await using withGauge = await addGauge(home.images, image.digest, limit.signal);
  await (await home.images.open(withGauge.digest)).extract('/', rootfs, { signal: limit.signal, synced: false });
  await flush(rootfs, limit.signal);
  addMountPoints(rootfs);
  const { programs = programsIn(rootfs) } = options;
  for (const [index, each] of compared.entries()) {
    if (!isHere(each)) continue;
    options.onStep?.(`preparing: ${each.level.name}`, 0);
    const [own, shared] = [join(folder, `level-${index}`), join(folder, `shared-${index}`)];
    for (const path of [own, shared]) mkdirSync(path);
    const bundle = { ...{ image: withGauge.digest, config: image.config }, rootfs, folder: own, shared };
    await prepare(each, { ...bundle, memory: options.memory }, limit, options);
  }
  // Rounds come last: they have what is left of the time.
  if (options.probes) await probeAll(compared, limit, options);
  if (options.surface) await surfaceAll(compared, done, limit, options);
  if (options.costs ?? true) {
    await measureAll(compared, image.config.WorkingDir || '/', done, limit, { ...options, programs });
  }
}

function warnOfRounds(rounds: number): string[] {
  if (rounds === 0) return [];
  return [
    ...(rounds < FEWEST ? [`of fewer than ${FEWEST} rounds, an interval is the range of the samples`] : []),
    ...(rounds < FEWEST_PAIRS ? [`fewer than ${FEWEST_PAIRS} rounds do not tell a difference from chance`] : []),
  ];
}

/** @throws the reason of the signal */
async function look({ level, report }: Compared, signal: AbortSignal): Promise<void> {
  const missing = await unlessAborted(Promise.resolve(level.missing()), signal);
  if (missing !== undefined) Object.assign(report, { state: 'missing', ...missing });
}

function addMountPoints(rootfs: string): void {
  // Levels with users of their own go through it.
  chmodSync(rootfs, 0o755);
  chmodSync(join(rootfs, '..'), 0o711);
  for (const name of MOUNT_POINTS) if (!existsSync(join(rootfs, name))) mkdirSync(join(rootfs, name));
}

async function prepare(
  each: Compared,
  bundle: Bundle,
  limit: Limit,
  { cpus, patience = limit.patience }: CompareOptions,
): Promise<void> {
  const { signal } = limit;
  signal.throwIfAborted();
  try {
    each.bundle = bundle;
    const prepared = await each.level.prepare(bundle, signal);
    each.prepared = pinLevel(prepared, cpus, patience);
    const { version, limitsMemory, note } = each.prepared;
    Object.assign(each.report, { version, limitsMemory, ...(note !== undefined && { note }) });
  } catch (error) {
    signal.throwIfAborted();
    fail(each, error);
  }
}
