// The operations on snapshots of sandboxes, and forks.
import { z } from 'zod';
import { continuedSchema, type SnapshotRecord, specSchema } from '../records.js';
import { limitSchema, pageOf } from './paged.js';
import { type Route, route } from './route.js';
import { described, OF_USE, sandboxSchema } from './sandbox-routes.js';

/** The most copies of one fork. */
export const MAX_COPIES = 100;

const snapshotSchema = z.object({
  id: z.string(),
  sandbox: z.string().describe('The ID of the sandbox that was copied'),
  created: z.iso.datetime(),
  spec: z.object(specSchema.shape).describe('What a sandbox that continues it has, unless it says otherwise'),
});
const pageSchema = z.object({
  snapshots: z.array(snapshotSchema),
  next: z.string().optional().describe('The value of `before` for the next page. Absent: this is the last one.'),
});
const querySchema = z.strictObject({
  limit: limitSchema,
  before: z.string().max(64).optional().describe('The `next` of a page, or the ID of a snapshot: only older ones'),
  sandbox: z.string().max(64).optional().describe('The ID of a sandbox: only those of it'),
});
const forkSchema = z.strictObject({
  count: z.int().min(1).max(MAX_COPIES).default(1).describe('How many copies'),
  ...continuedSchema.shape,
});
const copiesSchema = z.object({
  sandboxes: z.array(sandboxSchema).describe('The copies. One that did not start has ended, with an `error`.'),
});

/** Of what copies a sandbox. */
const OF_COPY = ['not-found', 'not-running', ...OF_USE] as const;

const shown = ({ tenant: _, ...rest }: SnapshotRecord): object => rest;

export const SNAPSHOT_ROUTES: readonly Route[] = [
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/fork',
    operation: 'forkSandbox',
    summary: 'Starts copies of a sandbox as it is now, on KVM. It runs on. The answer comes when they take commands.',
    body: forkSchema,
    status: 201,
    answer: copiesSchema,
    problems: OF_COPY,
    handle: async ({ snapshots, tenant, id }, { body }) => ({
      sandboxes: (await snapshots.fork(tenant, id, body)).map(described),
    }),
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/snapshots',
    operation: 'createSnapshot',
    summary: 'Keeps a sandbox as it is now, on KVM: its memory, processes and files. It runs on.',
    status: 201,
    answer: snapshotSchema,
    problems: OF_COPY,
    handle: async ({ snapshots, tenant, id }) => shown(await snapshots.create(tenant, id)),
  }),
  route({
    method: 'GET',
    path: '/v1/snapshots',
    operation: 'listSnapshots',
    scope: 'read',
    summary: 'Lists snapshots, newest first.',
    query: querySchema,
    status: 200,
    answer: pageSchema,
    problems: [],
    handle: async ({ snapshots, tenant }, { query }) => {
      const list = (limit: number) => snapshots.list(tenant, { ...query, limit });
      const { page, next } = pageOf(query.limit, list, (record) => snapshots.cursor(record));
      return { snapshots: page.map(shown), next };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/snapshots/{id}',
    operation: 'showSnapshot',
    scope: 'read',
    summary: 'Shows a snapshot.',
    status: 200,
    answer: snapshotSchema,
    problems: ['not-found'],
    handle: async ({ snapshots, tenant, id }) => shown(snapshots.find(tenant, id)),
  }),
  route({
    method: 'DELETE',
    path: '/v1/snapshots/{id}',
    operation: 'removeSnapshot',
    summary: 'Removes a snapshot. Sandboxes that have continued it run on.',
    status: 204,
    problems: ['not-found'],
    handle: async ({ snapshots, tenant, id }) => {
      await snapshots.remove(tenant, id);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: '/v1/snapshots/{id}/sandboxes',
    operation: 'continueSnapshot',
    summary: 'Starts a sandbox that continues a snapshot. The answer comes when it takes commands.',
    isIdempotent: true,
    body: continuedSchema,
    status: 201,
    answer: sandboxSchema,
    problems: ['not-found', 'no-image', 'no-secret', 'conflict', 'quota', 'no-room', 'unresponsive'],
    handle: async ({ snapshots, tenant, id, key }, { body }) => described(await snapshots.start(tenant, id, body, key)),
  }),
];
