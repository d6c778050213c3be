// What a tenant's jobs and sandboxes have used, by the hours in which they ended. It outlives their
// records. That of all tenants together outlives tenants, too.
import { z } from 'zod';
import type { PeriodName } from '../records.js';
import type { Database } from './database.js';

const ROW = z.object({
  period: z.string(),
  jobs: z.number(),
  succeeded: z.number(),
  sandboxes: z.number(),
  cpuSeconds: z.number(),
});
export type Usage = z.output<typeof ROW>;

/** Parts of a time in RFC 3339 that name a period, and how many of them are told at most. */
const PERIODS: Record<PeriodName, { characters: number; most: number }> = {
  hour: { characters: 13, most: 48 },
  day: { characters: 10, most: 62 },
};
/** Milliseconds. */
const KEPT = 62 * 24 * 3_600_000;

/**
 * Adds to what the tenant has used. Without a transaction of its own: it belongs to that of the end.
 * @param at milliseconds since the epoch
 */
export function addUsage(
  database: Database,
  tenant: string,
  { jobs = 0, succeeded = 0, sandboxes = 0, cpuSeconds = 0 }: Partial<Omit<Usage, 'period'>>,
  at: number,
): void {
  const nameOf = (time: number) => new Date(time).toISOString().slice(0, PERIODS.hour.characters);
  const sums = `ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, succeeded = succeeded + excluded.succeeded,
    sandboxes = sandboxes + excluded.sandboxes, cpuSeconds = cpuSeconds + excluded.cpuSeconds`;
  const [hour, values, first] = [nameOf(at), [jobs, succeeded, sandboxes, cpuSeconds], nameOf(at - KEPT)];
  database.prepare(`INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?) ${sums}`).run(tenant, hour, ...values);
  database.prepare(`INSERT INTO usageOfAll VALUES (?, ?, ?, ?, ?) ${sums}`).run(hour, ...values);
  database.prepare('DELETE FROM usage WHERE tenant = ? AND hour < ?').run(tenant, first);
  database.prepare('DELETE FROM usageOfAll WHERE hour < ?').run(first);
}

/**
 * The newest hours or days in which something ended, oldest first.
 * @param tenant undefined: of all together
 */
export function usageOf(database: Database, tenant: string | undefined, by: PeriodName): Usage[] {
  const { characters, most } = PERIODS[by];
  const [from, names] = tenant === undefined ? ['usageOfAll', []] : ['usage WHERE tenant = ?', [tenant]];
  const statement = `SELECT substr(hour, 1, ?) AS period, sum(jobs) AS jobs, sum(succeeded) AS succeeded,
      sum(sandboxes) AS sandboxes, sum(cpuSeconds) AS cpuSeconds
    FROM ${from} GROUP BY period ORDER BY period DESC LIMIT ?`;
  const rows = database.prepare(statement).all(characters, ...names, most);
  return rows.map((row) => ROW.parse(row)).reverse();
}
