// How many sandboxes and jobs there are, in the database.
import { z } from 'zod';
import { JOB_STATUSES } from '../job.js';
import { type PeriodName, type Resources, STATUSES } from '../records.js';
import type { Database } from './database.js';
import { held } from './held.js';
import { SnapshotStore } from './snapshot-store.js';
import { type Usage, usageOf } from './usage.js';

const ROW = z.object({ tenant: z.string(), status: z.string(), count: z.number() });

/** So many of a tenant have this status. */
export type Count = z.output<typeof ROW>;

export class Statistics {
  readonly #database: Database;
  readonly #snapshots: SnapshotStore;

  constructor(database: Database) {
    this.#database = database;
    this.#snapshots = new SnapshotStore(database);
  }

  /** Those that have not ended, for each of the tenants and each status: also if there is none. */
  alive(kind: 'sandboxes' | 'jobs', tenants: readonly string[]): Count[] {
    const statement = `SELECT tenant, status, count(*) AS count FROM ${kind}
      WHERE status <> 'ended' AND tenant IN (SELECT value FROM json_each(?)) GROUP BY tenant, status`;
    const rows = this.#database.prepare(statement).all(JSON.stringify(tenants));
    const known = new Map(rows.map((row) => ROW.parse(row)).map((row) => [`${row.tenant} ${row.status}`, row.count]));
    const statuses = (kind === 'jobs' ? JOB_STATUSES : STATUSES).filter((status) => status !== 'ended');
    return tenants.flatMap((tenant) =>
      statuses.map((status) => ({ tenant, status, count: known.get(`${tenant} ${status}`) ?? 0 })),
    );
  }

  /** How many snapshots of sandboxes a tenant has. */
  snapshots(tenant: string): number {
    return this.#snapshots.count(tenant);
  }

  /** What the sandboxes, their snapshots and the jobs of a tenant hold. Undefined: those of all. */
  held(tenant?: string): Resources {
    return held(this.#database, tenant);
  }

  /** What those of a tenant that have ended used, by hours or days. Undefined: those of all. */
  usage(tenant: string | undefined, by: PeriodName): Usage[] {
    return usageOf(this.#database, tenant, by);
  }
}
