// What the operator of a server may ask: the queue of all tenants, their shares, and what they have
// used. It only looks. A job's environment and callback may be secrets of its tenant: they are not
// told.
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import { describeJob, JOB_STATUSES, JOB_WAITS, type JobRecord, type JobWait } from '../job.js';
import type { Tenant } from '../records.js';
import { eventsOf, followJob, jobSchema, pageQuerySchema, placeSchema } from './job-routes.js';
import { limitSchema, pageOf } from './paged.js';
import { type Call, type Route, route } from './route.js';
import { bySchema, describeTenant, tenantSchema, usageSchema } from './tenant-routes.js';

const seenSchema = jobSchema.omit({ env: true, secrets: true, callback: true }).extend({
  tenant: z.string(),
  waits: z
    .enum(JOB_WAITS)
    .optional()
    .describe(
      "Why it is queued. share: its tenant's share has no room for it now; room: the host has none; turn: others are before it",
    ),
});

const jobsQuerySchema = pageQuerySchema.extend({
  status: z
    .enum([...JOB_STATUSES, 'alive'])
    .optional()
    .describe('alive: it has not ended'),
  tenant: z.string().max(64).optional().describe('The name of a tenant. Default: all'),
});

const tenantsQuerySchema = z.strictObject({
  limit: limitSchema,
  after: z.string().max(64).optional().describe('The name of a tenant: only later ones'),
});

function see(job: JobRecord, waits?: JobWait): object {
  const { env: _, secrets: _s, callback: _c, ...spec } = job.spec;
  return { ...describeJob({ ...job, spec: spec as JobRecord['spec'] }), tenant: job.tenant, waits };
}

/** @throws ServiceError `not-found` */
function tenantOf({ tenants, id }: Call): Tenant {
  const tenant = tenants.find(id);
  if (tenant === undefined) throw new ServiceError('not-found', 'no such tenant');
  return tenant;
}

export const OPERATOR_ROUTES: readonly Route[] = [
  route({
    method: 'GET',
    path: '/v1/operator/jobs',
    operation: 'listAllJobs',
    scope: 'operator',
    summary: 'Lists jobs of all tenants, newest first.',
    query: jobsQuerySchema,
    status: 200,
    answer: z.object({
      jobs: z.array(seenSchema),
      next: z.string().optional().describe('The value of `before` for the next page. Absent: this is the last one.'),
    }),
    problems: [],
    handle: async ({ jobs }, { query: { tenant, ...query } }) => {
      const list = (limit: number) => jobs.listAll(tenant, { ...query, limit });
      const { page, next } = pageOf(query.limit, list, (job) => jobs.cursor(tenant, job));
      const waits = jobs.waits(page);
      return { jobs: page.map((job) => see(job, waits.get(job.id))), next };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/operator/jobs/{id}',
    operation: 'showAnyJob',
    scope: 'operator',
    summary: 'Shows a job of whichever tenant.',
    status: 200,
    answer: seenSchema,
    problems: ['not-found'],
    handle: async ({ jobs, id }) => {
      const job = jobs.findAny(id);
      return see(job, jobs.waits([job]).get(id));
    },
  }),
  route({
    method: 'GET',
    path: '/v1/operator/jobs/{id}/events',
    operation: 'followAnyJob',
    scope: 'operator',
    summary: 'Follows the output of a job of whichever tenant, as `followJob` does.',
    query: placeSchema,
    status: 200,
    events: eventsOf(seenSchema),
    problems: ['not-found', 'quota'],
    handle: async (call, { query }) => followJob(call, { name: call.jobs.findAny(call.id).tenant }, query.from, see),
  }),
  route({
    method: 'GET',
    path: '/v1/operator/tenants',
    operation: 'listTenants',
    scope: 'operator',
    summary: 'Lists tenants by name: their shares, and what they hold of them.',
    query: tenantsQuerySchema,
    status: 200,
    answer: z.object({
      tenants: z.array(tenantSchema),
      next: z.string().optional().describe('The value of `after` for the next page. Absent: this is the last one.'),
    }),
    problems: [],
    handle: async ({ tenants, statistics }, { query: { after, limit } }) => {
      const list = (most: number) => tenants.list({ after, limit: most });
      const { page, next } = pageOf(limit, list, ({ name }) => name);
      return { tenants: page.map((tenant) => describeTenant(tenant, statistics)), next };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/operator/tenants/{id}',
    operation: 'showAnyTenant',
    scope: 'operator',
    summary: 'Shows a tenant: its share, and what it holds of it.',
    status: 200,
    answer: tenantSchema,
    problems: ['not-found'],
    handle: async (call) => describeTenant(tenantOf(call), call.statistics),
  }),
  route({
    method: 'GET',
    path: '/v1/operator/tenants/{id}/usage',
    operation: 'listUsageOfTenant',
    scope: 'operator',
    summary: 'Lists what the sandboxes and jobs of a tenant have used, by the periods in which they ended.',
    query: bySchema,
    status: 200,
    answer: usageSchema,
    problems: ['not-found'],
    handle: async (call, { query }) => ({ periods: call.statistics.usage(tenantOf(call).name, query.by) }),
  }),
  route({
    method: 'GET',
    path: '/v1/operator/usage',
    operation: 'listUsageOfAll',
    scope: 'operator',
    summary: 'Lists what the sandboxes and jobs of all tenants together have used, by the periods in which they ended.',
    query: bySchema,
    status: 200,
    answer: usageSchema,
    problems: [],
    handle: async ({ statistics }, { query }) => ({ periods: statistics.usage(undefined, query.by) }),
  }),
];
