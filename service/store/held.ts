// What sandboxes and jobs hold together, in the database.
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import type { Resources, Tenant } from '../records.js';
import type { Database } from './database.js';

const HELD = z.object({ cpus: z.number(), memory: z.number() });

/**
 * What is held now.
 * @param tenant Default: of all
 * @param kind Default: sandboxes and jobs
 */
export function held(database: Database, tenant?: string, kind?: 'sandboxes'): Resources {
  const statement = `SELECT total(cpus) AS cpus, total(memory) AS memory FROM held
    WHERE (? IS NULL OR tenant = ?) AND (? IS NULL OR kind = ?)`;
  const [of, as] = [tenant ?? null, kind ?? null];
  return HELD.parse(database.prepare(statement).get(of, of, as, as));
}

/** @throws ServiceError `quota` if the tenant's share or the host never holds it */
export function checkFits(tenant: Tenant, host: Resources, wanted: Resources): void {
  for (const [whose, most] of [
    ["the tenant's share", tenant],
    ['the host', host],
  ] as const) {
    if (wanted.cpus > most.cpus) throw new ServiceError('quota', `${whose} is ${most.cpus} CPUs`);
    if (wanted.memory > most.memory) throw new ServiceError('quota', `${whose} is ${most.memory} bytes of memory`);
  }
}
