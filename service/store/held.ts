// What sandboxes and jobs hold together, in the database.
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import type { Resources, Tenant } from '../records.js';
import type { Database } from './database.js';

const HELD = z.object({ cpus: z.number(), memory: z.number(), disk: z.number() });
const NOTHING: Resources = { cpus: 0, memory: 0, disk: 0 };
const UNITS = { cpus: 'CPUs', memory: 'bytes of memory', disk: 'bytes of disks' } as const;

/**
 * What is held now.
 * @param tenant Default: of all
 * @param kind Default: sandboxes and jobs
 */
export function held(database: Database, tenant?: string, kind?: 'sandboxes'): Resources {
  const statement = `SELECT total(cpus) AS cpus, total(memory) AS memory, total(disk) AS disk FROM held
    WHERE (? IS NULL OR tenant = ?) AND (? IS NULL OR kind = ?)`;
  const [of, as] = [tenant ?? null, kind ?? null];
  return HELD.parse(database.prepare(statement).get(of, of, as, as));
}

/** What there is too little of for `wanted` beside what is taken: `4 CPUs`, the most. Undefined: it fits. */
export function lacking(wanted: Resources, most: Resources, taken = NOTHING): string | undefined {
  for (const kind of ['cpus', 'memory', 'disk'] as const) {
    if (taken[kind] + wanted[kind] > most[kind]) return `${most[kind]} ${UNITS[kind]}`;
  }
  return undefined;
}

/** @throws ServiceError `quota` if the tenant's share or the host never holds it */
export function checkFits(tenant: Tenant, host: Resources, wanted: Resources): void {
  for (const [whose, most] of [
    ["the tenant's share", tenant],
    ['the host', host],
  ] as const) {
    const little = lacking(wanted, most);
    if (little !== undefined) throw new ServiceError('quota', `${whose} is ${little}`);
  }
}
