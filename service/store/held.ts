// What sandboxes, their snapshots and jobs hold together, in the database.
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
 * @param without Default: all kinds count
 */
export function held(database: Database, tenant?: string, without?: 'jobs'): Resources {
  const statement = `SELECT total(cpus) AS cpus, total(memory) AS memory, total(disk) AS disk FROM held
    WHERE (? IS NULL OR tenant = ?) AND (? IS NULL OR kind <> ?)`;
  const [of, not] = [tenant ?? null, without ?? null];
  return HELD.parse(database.prepare(statement).get(of, of, not, not));
}

/** What there is too little of for `wanted` beside what is taken: `4 CPUs`, the most. Undefined: it fits. */
export function lacking(wanted: Resources, most: Resources, taken = NOTHING): string | undefined {
  for (const kind of ['cpus', 'memory', 'disk'] as const) {
    if (taken[kind] + wanted[kind] > most[kind]) return `${most[kind]} ${UNITS[kind]}`;
  }
  return undefined;
}

/**
 * Call it in the transaction that adds what is wanted.
 * @throws ServiceError `quota`, `no-room` if the tenant's share or the host does not hold it now
 */
export function checkShare(database: Database, tenant: Tenant, host: Resources, wanted: Resources): void {
  const little = lacking(wanted, tenant, held(database, tenant.name));
  if (little !== undefined) throw shareIs(little);
  if (lacking(wanted, host, held(database)) !== undefined) {
    throw new ServiceError('no-room', 'the host has no room for it now');
  }
}

/** The share of a tenant is used up. @param most `4 CPUs` */
export function shareIs(most: string): ServiceError {
  return new ServiceError('quota', `the tenant's share is ${most}`);
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
