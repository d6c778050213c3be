// A level while it is compared, and what the report has of it.
import { messageOf } from '../errors/index.js';
import type { Bundle, Level, PreparedLevel } from './level.js';
import type { Measure } from './measures.js';
import type { LevelReport } from './report.js';
import { comparePairs, roundMedians, summarize } from './statistics.js';

/** A report has some hundred figures: with 95 percent, several would differ by chance. */
export const CONFIDENCE = 0.99;

/** A level while it is compared. */
export interface Compared {
  report: LevelReport;
  level: Level;
  prepared?: PreparedLevel;
  /** What it was prepared with. */
  bundle?: Bundle;
  /** By the name of the measure. */
  samples: Map<string, { measure: Measure; samples: number[]; rounds: number[]; warmUp: number[] }>;
}

export function newCompared(level: Level): Compared {
  const { name, summary } = level;
  const report = { name, summary, state: 'measured' as const, measures: [], notMeasured: [], probes: [], outputs: [] };
  return { level, report, samples: new Map() };
}

export function fail({ report }: Compared, error: unknown): void {
  Object.assign(report, {
    state: 'failed',
    reason: messageOf(error)
      .trim()
      .replace(/\s*\n\s*/g, ': '),
  });
}

/** @param round of the measure, or `warm-up` */
export function addSample({ samples }: Compared, measure: Measure, value: number, round: number | 'warm-up'): void {
  const found = samples.get(measure.name) ?? { measure, samples: [], rounds: [], warmUp: [] };
  samples.set(measure.name, found);
  if (round === 'warm-up') {
    found.warmUp.push(value);
    return;
  }
  found.samples.push(value);
  found.rounds.push(round);
}

/** The first reason is kept. */
export function addNone({ report }: Compared, { name }: Measure, reason: string): void {
  if (!report.notMeasured.some((other) => other.name === name)) report.notMeasured.push({ name, reason });
}

/** The reports of all levels. The figures of each are compared with those of the first level that has them. */
export function toReports(compared: readonly Compared[]): LevelReport[] {
  const firsts = new Map<string, Sampled>();
  return compared.map(({ report, samples }) => {
    const measures = [...samples.values()]
      .filter(({ samples: found }) => found.length > 0)
      .map(({ measure: { name, title, unit }, ...found }) => {
        const first = firsts.get(name);
        if (first === undefined) firsts.set(name, found);
        const difference = first === undefined ? undefined : comparePairs(pairsOf(found, first), CONFIDENCE);
        const figure = { name, title, unit, ...found, ...summarize(found.samples, found.rounds) };
        return { ...figure, ...(difference && { difference }) };
      });
    return { ...report, measures };
  });
}

interface Sampled {
  samples: readonly number[];
  rounds: readonly number[];
}

/** Of each round that both have. */
function pairsOf(over: Sampled, under: Sampled): (readonly [number, number])[] {
  const others = roundMedians(under.samples, under.rounds);
  return [...roundMedians(over.samples, over.rounds)].flatMap(([round, value]) => {
    const other = others.get(round);
    return other === undefined ? [] : [[value, other] as const];
  });
}
