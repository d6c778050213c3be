// A level while it is compared, and what the report has of it.
import { messageOf } from '../errors/index.js';
import type { Bundle, Level, PreparedLevel } from './level.js';
import type { Measure } from './measures.js';
import type { LevelReport } from './report.js';
import { summarize } from './statistics.js';

/** A level while it is compared. */
export interface Compared {
  report: LevelReport;
  level: Level;
  prepared?: PreparedLevel;
  /** What it was prepared with. */
  bundle?: Bundle;
  /** By the name of the measure. */
  samples: Map<string, { measure: Measure; samples: number[]; warmUp: number[] }>;
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

export function addSample({ samples }: Compared, measure: Measure, value: number, isWarmUp: boolean): void {
  const found = samples.get(measure.name) ?? { measure, samples: [], warmUp: [] };
  samples.set(measure.name, found);
  (isWarmUp ? found.warmUp : found.samples).push(value);
}

/** The first reason is kept. */
export function addNone({ report }: Compared, { name }: Measure, reason: string): void {
  if (!report.notMeasured.some((other) => other.name === name)) report.notMeasured.push({ name, reason });
}

export function toReport({ report, samples }: Compared): LevelReport {
  const measures = [...samples.values()]
    .filter(({ samples: found }) => found.length > 0)
    .map(({ measure: { name, title, unit }, ...found }) => {
      return { name, title, unit, ...found, ...summarize(found.samples) };
    });
  return { ...report, measures };
}
