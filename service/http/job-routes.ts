// The operations on jobs.
import { Readable } from 'node:stream';
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import {
  describeJob,
  JOB_REASONS,
  JOB_STATUSES,
  type JobEvent,
  type JobRecord,
  jobRequestSchema,
  jobSpecSchema,
  type OutputPlace,
} from '../job.js';
import type { Tenant } from '../records.js';
import { COMMENT, formatEvent, PLACE, parsePlace, withBeats } from './event-stream.js';
import { limitSchema, pageOf } from './paged.js';
import { type Call, type Route, route } from './route.js';

export const jobSchema = z.object({
  id: z.string(),
  ...jobSpecSchema.shape,
  status: z.enum(JOB_STATUSES),
  attempts: z.int().describe('The number of runs, with the one that is under way'),
  created: z.iso.datetime(),
  started: z.iso.datetime().optional().describe('Since its program runs, in the last run'),
  ended: z.iso.datetime().optional(),
  reason: z.enum(JOB_REASONS).optional().describe('Why it ended'),
  exitCode: z.int().optional().describe('128+n if signal n ended its program'),
  oomKilled: z.boolean().optional().describe('True if its program was killed for lack of memory'),
  truncated: z.boolean().optional().describe('True if the beginning of its output is not kept'),
  error: z.string().optional().describe('With the reasons not-started and lost: one line'),
  left: z.int().optional().describe('Bytes of what it has left, as an archive. Absent: there is none.'),
  leftError: z.string().optional().describe('Why its outputs are not kept: one line'),
});
/** The most jobs of a batch. */
const MAX_BATCH = 100;
const batchSchema = z.strictObject({ jobs: z.array(jobRequestSchema).min(1).max(MAX_BATCH) });
const uploadSchema = z.object({ upload: z.string().describe('Its name for jobs'), size: z.int().describe('Bytes') });
const pageSchema = z.object({
  jobs: z.array(jobSchema),
  next: z.string().optional().describe('The value of `before` for the next page. Absent: this is the last one.'),
});
export const pageQuerySchema = z.strictObject({
  limit: limitSchema,
  before: z.string().max(64).optional().describe('The `next` of a page, or the ID of a job: only older ones'),
  status: z.enum(JOB_STATUSES).optional(),
});
export const lineSchema = z.object({
  stream: z.enum(['stdout', 'stderr']),
  time: z.iso.datetime(),
  log: z.string().describe('A line with its end, or a piece of one. Bytes that are no UTF-8 are U+FFFD.'),
});
const outputSchema = z.strictObject({
  follow: z
    .enum(['true', 'false'])
    .default('false')
    .describe('true: the answer goes on until the job has ended, through all of its runs'),
});

export const placeSchema = z.strictObject({
  from: z
    .string()
    .regex(PLACE, { error: 'RUN:OFFSET or OFFSET is needed' })
    .default('0')
    .describe('RUN:OFFSET: so many bytes of the lines of a run. Without RUN: of the newest one'),
});

/** As text of the stream. */
async function* formatted(
  events: AsyncIterable<JobEvent>,
  describe: (job: JobRecord) => object,
): AsyncGenerator<string> {
  for await (const event of events) {
    switch (event.name) {
      case 'line':
        yield formatEvent(event.place, event.line.trimEnd());
        break;
      case 'run':
        yield formatEvent(event.place, JSON.stringify({ run: event.place.run }), 'run');
        break;
      case 'gap':
        yield formatEvent(event.place, JSON.stringify({ bytes: event.bytes }), 'gap');
        break;
      case 'end':
        yield formatEvent(event.place, JSON.stringify(describe(event.job)), 'end');
        break;
    }
  }
}

/** @throws ServiceError `bad-request` */
function placeOf(lastEvent: string | undefined, from: string): OutputPlace {
  if (lastEvent === undefined || lastEvent === '') return parsePlace(from);
  if (!PLACE.test(lastEvent)) throw new ServiceError('bad-request', 'Last-Event-ID: the ID of an event is needed');
  return parsePlace(lastEvent);
}

export const eventsOf = (end: z.ZodType) => ({
  message: lineSchema,
  run: z.object({ run: z.int() }),
  gap: z.object({ bytes: z.int() }),
  end,
});

/**
 * The output of the job, as it arrives. It takes a place of the caller.
 * @param owner the tenant of the job
 * @throws ServiceError `not-found`, `bad-request`, `quota`
 */
export function followJob(
  { jobs, places, tenant, id, lastEvent, beat, signal }: Call,
  owner: Pick<Tenant, 'name'>,
  from: string,
  describe: (job: JobRecord) => object,
): Readable {
  const begin = placeOf(lastEvent, from);
  jobs.checkPlace(owner, id, begin);
  const place = places.take(tenant);
  const gone = new AbortController();
  const events = jobs.events(owner, id, begin, AbortSignal.any([signal, gone.signal]));
  const text = withBeats(formatted(events, describe), beat, COMMENT);
  return Readable.from(text, { objectMode: false }).once('close', () => {
    gone.abort();
    place[Symbol.dispose]();
  });
}

export const JOB_ROUTES: readonly Route[] = [
  route({
    method: 'POST',
    path: '/v1/jobs',
    operation: 'createJob',
    summary: 'Queues a job: a command that runs to its end in a machine of its own.',
    isIdempotent: true,
    body: jobRequestSchema,
    status: 201,
    answer: jobSchema,
    problems: ['conflict', 'quota'],
    handle: async ({ jobs, tenant, key }, { body }) => describeJob(jobs.submit(tenant, body, key)),
  }),
  route({
    method: 'POST',
    path: '/v1/jobs/batch',
    operation: 'createJobs',
    summary: 'Queues all of the jobs, or none of them.',
    isIdempotent: true,
    body: batchSchema,
    status: 201,
    answer: z.object({ jobs: z.array(jobSchema) }),
    problems: ['conflict', 'quota'],
    handle: async ({ jobs, tenant, key }, { body }) => ({
      jobs: jobs.submitAll(tenant, body.jobs, key).map(describeJob),
    }),
  }),
  route({
    method: 'GET',
    path: '/v1/jobs',
    operation: 'listJobs',
    scope: 'read',
    summary: 'Lists jobs, newest first.',
    query: pageQuerySchema,
    status: 200,
    answer: pageSchema,
    problems: [],
    handle: async ({ jobs, tenant }, { query }) => {
      const list = (limit: number) => jobs.list(tenant, { ...query, limit });
      const { page, next } = pageOf(query.limit, list, (job) => jobs.cursor(tenant.name, job));
      return { jobs: page.map(describeJob), next };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/{id}',
    operation: 'showJob',
    scope: 'read',
    summary: 'Shows a job.',
    status: 200,
    answer: jobSchema,
    problems: ['not-found'],
    handle: async ({ jobs, tenant, id }) => describeJob(jobs.find(tenant, id)),
  }),
  route({
    method: 'POST',
    path: '/v1/jobs/{id}/cancel',
    operation: 'cancelJob',
    summary: 'Ends a job. One that is queued has ended with the answer; the program of another ends soon after.',
    status: 200,
    answer: jobSchema,
    problems: ['not-found'],
    handle: async ({ jobs, tenant, id }) => describeJob(jobs.cancel(tenant, id)),
  }),
  route({
    method: 'DELETE',
    path: '/v1/jobs/{id}',
    operation: 'removeJob',
    summary: 'Removes a job that has ended, with its output and files.',
    status: 204,
    problems: ['not-found', 'conflict'],
    handle: async ({ jobs, tenant, id }) => {
      jobs.remove(tenant, id);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: '/v1/uploads',
    operation: 'upload',
    summary: 'Keeps the body for an hour after its last use: input or files for jobs.',
    status: 201,
    archive: 'request',
    answer: uploadSchema,
    problems: ['too-large', 'quota'],
    handle: async ({ jobs, places, tenant, archive }) => {
      using _place = places.take(tenant);
      const { digest, size } = await jobs.upload(tenant, archive);
      return { upload: digest, size };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/{id}/files',
    operation: 'readOutputs',
    scope: 'read',
    summary:
      'Reads what an ended job has left at `outputs`, as a tar archive whose root has the last name of the path.',
    status: 200,
    archive: 'answer',
    problems: ['not-found', 'no-file', 'conflict', 'quota'],
    handle: async ({ jobs, places, tenant, id }) => {
      const place = places.take(tenant);
      try {
        return jobs.outputs(tenant, id).once('close', () => place[Symbol.dispose]());
      } catch (error) {
        place[Symbol.dispose]();
        throw error;
      }
    },
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/{id}/output',
    operation: 'readOutput',
    scope: 'read',
    summary: 'Reads the newest output of the run that is under way, or of the last one: lines of JSON.',
    query: outputSchema,
    status: 200,
    lines: lineSchema,
    problems: ['not-found', 'quota'],
    handle: async ({ jobs, places, tenant, id, signal }, { query }) => {
      jobs.find(tenant, id);
      const place = places.take(tenant);
      const lines = jobs.output(tenant, id, query.follow === 'true', signal);
      return Readable.from(lines, { objectMode: false }).once('close', () => place[Symbol.dispose]());
    },
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/{id}/events',
    operation: 'followJob',
    scope: 'read',
    summary:
      'Follows the output of a job until it has ended, as server-sent events. Their IDs are places in the output, from which a later request goes on. Events without a name are lines; `run`: lines of this run follow; `gap`: so many bytes are not kept; `end`: the job, which has ended.',
    query: placeSchema,
    status: 200,
    events: eventsOf(jobSchema),
    problems: ['not-found', 'quota'],
    handle: async (call, { query }) => followJob(call, call.tenant, query.from, describeJob),
  }),
];
