// What a tenant may ask of itself: its share, what it holds of it, and what it has used.
import { z } from 'zod';
import { PERIOD_NAMES, type Tenant } from '../records.js';
import { SCOPES } from '../scope.js';
import type { Statistics } from '../store/statistics.js';
import { type Route, route } from './route.js';

const countsSchema = z.record(z.string(), z.int());
export const tenantSchema = z.object({
  name: z.string(),
  limits: z
    .object({
      sandboxes: z.int().describe('Number of sandboxes'),
      snapshots: z.int().describe('Number of snapshots of sandboxes'),
      jobs: z.int().describe('Number of jobs that have not ended'),
      cpus: z.number(),
      memory: z.int().describe('Bytes'),
      disk: z.int().describe('Bytes'),
      files: z.int().describe('Bytes of the files of jobs'),
      rate: z.string().describe('Requests: 10/s, 10/m, 10/h or none'),
    })
    .describe('The most that its sandboxes and jobs hold together'),
  held: z.object({
    cpus: z.number(),
    memory: z.number().describe('Bytes'),
    disk: z.number().describe('Bytes'),
  }),
  sandboxes: countsSchema.describe('The number of those that have not ended, by status'),
  snapshots: z.int().describe('The number of snapshots of sandboxes'),
  jobs: countsSchema.describe('The number of those that have not ended, by status'),
});

export const usageSchema = z.object({
  periods: z
    .array(
      z.object({
        period: z.string().describe('2026-01-01, or 2026-01-01T10 for an hour: UTC'),
        jobs: z.int().describe('Jobs that ended'),
        succeeded: z.int().describe('Those of them that succeeded'),
        sandboxes: z.int().describe('Sandboxes that ended'),
        cpuSeconds: z.number().describe('CPUs times seconds that they were held, of runs and sandboxes that ended'),
      }),
    )
    .describe('Oldest first. A period in which nothing ended is missing.'),
});

export const bySchema = z.strictObject({
  by: z.enum(PERIOD_NAMES).default('day').describe('hour: the newest 48; day: the newest 62'),
});

/** A tenant's share, and what it holds of it. */
export function describeTenant({ name, ...limits }: Tenant, statistics: Statistics): z.output<typeof tenantSchema> {
  const countOf = (kind: 'sandboxes' | 'jobs') =>
    Object.fromEntries(statistics.alive(kind, [name]).map(({ status, count }) => [status, count]));
  const [held, snapshots] = [statistics.held(name), statistics.snapshots(name)];
  return { name, limits, held, sandboxes: countOf('sandboxes'), snapshots, jobs: countOf('jobs') };
}

export const TENANT_ROUTES: readonly Route[] = [
  route({
    method: 'GET',
    path: '/v1/tenant',
    operation: 'showTenant',
    scope: 'read',
    summary: 'Shows the tenant of the key: its share, and what it holds of it.',
    status: 200,
    answer: tenantSchema.extend({ scope: z.enum(SCOPES).describe('What the key may do') }),
    problems: [],
    handle: async ({ statistics, tenant, scope }) => ({ ...describeTenant(tenant, statistics), scope }),
  }),
  route({
    method: 'GET',
    path: '/v1/usage',
    operation: 'listUsage',
    scope: 'read',
    summary: 'Lists what the sandboxes and jobs of the tenant have used, by the periods in which they ended.',
    query: bySchema,
    status: 200,
    answer: usageSchema,
    problems: [],
    handle: async ({ statistics, tenant }, { query }) => ({ periods: statistics.usage(tenant.name, query.by) }),
  }),
];
