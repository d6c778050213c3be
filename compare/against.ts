// What has changed since an older report: judged by the samples of both, not by two numbers.
import { messageOf } from '../errors/index.js';
import { readUserFile } from '../user-files/index.js';
import { CONFIDENCE } from './compared.js';
import { CompareError } from './errors.js';
import { type Changes, type LevelReport, type MeasureReport, type Report, ReportSchema } from './report.js';
import { compareSamples, roundMedians } from './statistics.js';

/**
 * Reads a report in JSON.
 * @throws CompareError `report`
 */
export function readReport(path: string): Report {
  let value: unknown;
  try {
    value = JSON.parse(readUserFile(path).toString());
  } catch (error) {
    throw new CompareError('report', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
  const parsed = ReportSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const format = typeof value === 'object' && value !== null && 'format' in value ? value.format : undefined;
  const wanted = ReportSchema.shape.format.value;
  if (typeof format === 'string' && format !== wanted) {
    throw new CompareError('report', `${path} has the format ${JSON.stringify(format)}, and this needs ${wanted}`);
  }
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : ` at ${issue.path.join('.')}`;
  throw new CompareError('report', `${path} is not a report of tsvm compare: ${issue?.message ?? 'invalid'}${where}`);
}

/** What makes two reports differ beside the levels themselves. */
function differencesOf(before: Report, after: Report): string[] {
  const of = ({ host, image, memory, pinned, command }: Report) => ({
    CPU: `${host.cpu}, ${host.cpus} CPUs`,
    kernel: host.kernel,
    image: image.digest,
    memory: String(memory),
    pinning: pinned.join(),
    command: command.join(' '),
    'version of tsvm': host.tsvm,
  });
  const [old, now] = [of(before), of(after)];
  return Object.keys(old).filter((name) => old[name as keyof typeof old] !== now[name as keyof typeof now]);
}

/** A level with its place among those of its name: a level may be compared with itself. */
function* named(levels: readonly LevelReport[]): Iterable<readonly [key: string, LevelReport]> {
  for (const [index, level] of levels.entries()) {
    const place = levels.slice(0, index).filter(({ name }) => name === level.name).length;
    yield [`${level.name} ${place}`, level];
  }
}

/** Returns what has changed. Less is better for each measure. */
export function changesBetween(before: Report, after: Report): Changes {
  const old = new Map(named(before.levels));
  const changes: Changes = {
    ...{ since: before.started, differences: differencesOf(before, after) },
    ...{ compared: 0, unjudged: [], measures: [], probes: [], absent: [] },
  };
  for (const [key, level] of named(after.levels)) {
    const was = old.get(key);
    if (was === undefined) continue;
    compareMeasures(level, was, changes);
    compareProbes(level, was, changes);
  }
  return changes;
}

function compareMeasures(level: LevelReport, was: LevelReport, changes: Changes): void {
  for (const older of was.measures) {
    const { name, unit, median: from } = older;
    const now = level.measures.find((each) => each.name === name);
    if (now === undefined) {
      changes.absent.push(`${level.name} ${name}`);
      continue;
    }
    const difference = compareSamples(mediansOf(now), mediansOf(older), CONFIDENCE);
    if (difference === undefined) {
      changes.unjudged.push(`${level.name} ${name}`);
      continue;
    }
    changes.compared++;
    const { sign, ratio } = difference;
    if (sign === 0) continue;
    const verdict = sign > 0 ? 'worse' : 'better';
    changes.measures.push({ level: level.name, name, unit, from, to: now.median, ...(ratio && { ratio }), verdict });
  }
}

/** One sample for each round. */
function mediansOf({ samples, rounds }: MeasureReport): number[] {
  return [...roundMedians(samples, rounds).values()];
}

function compareProbes(level: LevelReport, was: LevelReport, changes: Changes): void {
  for (const { name, verdict: to } of level.probes) {
    const from = was.probes.find((each) => each.name === name)?.verdict;
    if (from !== undefined && from !== to) changes.probes.push({ level: level.name, name, from, to });
  }
}

/** True if a measure is worse, or the host can be reached where it could not be before. */
export function isWorse({ measures, probes }: Changes): boolean {
  return measures.some(({ verdict }) => verdict === 'worse') || probes.some(({ to }) => to === 'host');
}
