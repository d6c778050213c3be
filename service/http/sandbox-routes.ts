// The operations on sandboxes.
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import { KEPT_IN, REASONS, type SandboxRecord, STATUSES, specSchema } from '../records.js';
import { commandResultSchema, commandSchema } from '../sandboxes/command.js';
import { execSchema, execStatusSchema } from './exec-channels.js';
import { execOverSocket } from './exec-socket.js';
import { limitSchema, pageOf } from './paged.js';
import { hostOf } from './port-host.js';
import { type Route, route } from './route.js';

export const sandboxSchema = z.object({
  id: z.string(),
  ...specSchema.shape,
  origin: z.string().optional().describe('The ID of the snapshot or sandbox that it has continued'),
  status: z.enum(STATUSES),
  created: z.iso.datetime(),
  started: z.iso.datetime().optional(),
  expires: z.iso.datetime().optional().describe('When its lifetime is over'),
  paused: z.iso.datetime().optional().describe('Since when it is paused'),
  keptIn: z
    .enum(KEPT_IN)
    .optional()
    .describe(
      'Where it is while it is paused. disk: nothing of it runs, and it holds its disk and as much for its memory. ' +
        'memory: it is on the emulator, its processors stand still, and it holds what it held.',
    ),
  ended: z.iso.datetime().optional(),
  reason: z.enum(REASONS).optional().describe('Why it ended'),
  error: z.string().optional().describe('With the reason failed, or if it could not be paused: one line'),
});
const pageSchema = z.object({
  sandboxes: z.array(sandboxSchema),
  next: z.string().optional().describe('The value of `before` for the next page. Absent: this is the last one.'),
});

const querySchema = z.strictObject({
  limit: limitSchema,
  before: z.string().max(64).optional().describe('The `next` of a page, or the ID of a sandbox: only older ones'),
  status: z.enum(STATUSES).optional(),
});

const resumeSchema = z.strictObject({
  lifetime: specSchema.shape.lifetime.removeDefault().optional(),
});

const fileSchema = z.strictObject({
  path: z.string().startsWith('/').max(4096).describe('An absolute path in the sandbox'),
});

const portsSchema = z.object({
  host: z.string().describe('The host of a port, with PORT in the place of its number'),
  token: z
    .string()
    .describe('For the header E2b-Traffic-Access-Token. It opens the ports of this sandbox until it ends'),
});

/** Of what may resume a sandbox, beside its own. */
export const OF_USE = ['conflict', 'no-secret', 'quota', 'no-room', 'unresponsive'] as const;

export function described({ tenant: _, spec, ...rest }: SandboxRecord): object {
  return { ...spec, ...rest };
}

export const SANDBOX_ROUTES: readonly Route[] = [
  route({
    method: 'POST',
    path: '/v1/sandboxes',
    operation: 'createSandbox',
    summary: 'Starts a sandbox. The answer comes when it takes commands.',
    isIdempotent: true,
    body: specSchema,
    status: 201,
    answer: sandboxSchema,
    problems: ['no-image', 'no-secret', 'conflict', 'quota', 'no-room', 'unresponsive'],
    handle: async ({ sandboxes, tenant, key }, { body }) => described(await sandboxes.create(tenant, body, key)),
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes',
    operation: 'listSandboxes',
    scope: 'read',
    summary: 'Lists sandboxes, newest first.',
    query: querySchema,
    status: 200,
    answer: pageSchema,
    problems: [],
    handle: async ({ sandboxes, tenant }, { query: { status, ...query } }) => {
      const statuses = status && [status];
      const list = (limit: number) => sandboxes.list(tenant, { ...query, statuses, limit });
      const { page, next } = pageOf(query.limit, list, (record) => sandboxes.cursor(record));
      return { sandboxes: page.map(described), next };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes/{id}',
    operation: 'showSandbox',
    scope: 'read',
    summary: 'Shows a sandbox.',
    status: 200,
    answer: sandboxSchema,
    problems: ['not-found'],
    handle: async ({ sandboxes, tenant, id }) => described(sandboxes.find(tenant, id)),
  }),
  route({
    method: 'DELETE',
    path: '/v1/sandboxes/{id}',
    operation: 'stopSandbox',
    summary: 'Ends a sandbox with everything in it. Its record stays.',
    status: 204,
    problems: ['not-found', 'conflict'],
    handle: async ({ sandboxes, tenant, id }) => {
      await sandboxes.stop(tenant, id);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/pause',
    operation: 'pauseSandbox',
    summary: 'Pauses a sandbox. Nothing in it runs, and its lifetime does not pass.',
    status: 200,
    answer: sandboxSchema,
    problems: ['not-found', 'not-running', 'conflict', 'quota', 'no-room', 'unresponsive'],
    handle: async ({ sandboxes, tenant, id }) => described(await sandboxes.pause(tenant, id)),
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/resume',
    operation: 'resumeSandbox',
    summary: 'Lets a paused sandbox go on. Its lifetime begins anew.',
    body: resumeSchema,
    status: 200,
    answer: sandboxSchema,
    problems: ['not-found', 'not-running', 'conflict', 'no-secret', 'quota', 'no-room', 'unresponsive'],
    handle: async ({ sandboxes, tenant, id }, { body }) => described(await sandboxes.resume(tenant, id, body.lifetime)),
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/exec',
    operation: 'runCommand',
    summary: 'Runs a command to its end. It is killed if the caller goes away.',
    body: commandSchema,
    status: 200,
    answer: commandResultSchema,
    problems: ['no-command', 'not-found', 'not-running', ...OF_USE],
    handle: ({ sandboxes, tenant, id, signal }, { body }) => sandboxes.exec(tenant, id, body, signal),
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes/{id}/exec',
    operation: 'streamCommand',
    summary: 'Runs a command whose streams are the messages of a WebSocket. It is killed if the caller goes away.',
    status: 101,
    socket: { first: execSchema, last: execStatusSchema, serve: execOverSocket },
    problems: ['not-found', 'not-running', ...OF_USE],
    handle: async ({ sandboxes, tenant, id }) => {
      using _use = await sandboxes.use(tenant, id);
      return undefined;
    },
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes/{id}/ports',
    operation: 'showPorts',
    summary: 'Tells which hosts the ports of a sandbox have, and the token that opens them.',
    status: 200,
    answer: portsSchema,
    problems: ['not-found', 'not-running'],
    handle: async ({ sandboxes, tenant, id, domain }) => {
      const token = sandboxes.portsToken(tenant, id);
      if (domain === undefined) throw new ServiceError('not-found', 'this server serves no ports of sandboxes');
      return { host: hostOf(domain, { id, port: 'PORT' }), token };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes/{id}/files',
    operation: 'readFiles',
    summary: 'Reads a file, or a directory with what is below it, as a tar archive.',
    query: fileSchema,
    status: 200,
    archive: 'answer',
    problems: ['no-file', 'files', 'not-found', 'not-running', ...OF_USE],
    handle: ({ sandboxes, tenant, id, signal }, { query }) => sandboxes.readFiles(tenant, id, query.path, signal),
  }),
  route({
    method: 'PUT',
    path: '/v1/sandboxes/{id}/files',
    operation: 'writeFiles',
    summary: 'Extracts a tar archive into a directory. Files belong to root.',
    query: fileSchema,
    status: 204,
    archive: 'request',
    problems: ['no-file', 'files', 'not-found', 'not-running', 'too-large', ...OF_USE],
    handle: async ({ sandboxes, tenant, id, signal, archive }, { query }) => {
      await sandboxes.writeFiles(tenant, id, query.path, archive, signal);
      return undefined;
    },
  }),
];
