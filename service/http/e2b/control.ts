// E2B's control API: sandboxes by their lives. Names and shapes of the wire are E2B's.
import { Hono } from 'hono';
import { z } from 'zod';
import { ServiceError } from '../../errors.js';
import {
  type SandboxRecord,
  type SandboxSpec,
  type SnapshotRecord,
  specSchema,
  type Tenant,
  wordsSchema,
} from '../../records.js';
import type { Snapshots } from '../../sandboxes/snapshots.js';
import { checkScope } from '../../scope.js';
import type { Shared } from '../audit.js';
import { pageOf } from '../paged.js';
import { PROBLEMS, retryHeaders } from '../problem.js';
import { parse, readJson } from '../request.js';
import { DEFAULT_SCOPE } from '../route.js';
import { MAX_COPIES } from '../snapshot-routes.js';
import type { E2bParts } from './parts.js';

/** What the client takes this server's sandboxes to be able to do, by the version of E2B's daemon in them. */
export const ENVD_VERSION = '0.5.7';
const SECOND = 1000;
const MIB = 2 ** 20;
/** Seconds. */
const MAX_TIMEOUT = 24 * 3600;

const timeoutSchema = z.int().min(0).max(MAX_TIMEOUT);
const withMemory = z.literal(true, { error: 'a sandbox is paused with its memory alone' }).optional();
/** What is asked for and cannot be given is refused: it may be a wall. */
const createSchema = z.strictObject({
  templateID: z.string().min(1).max(512),
  timeout: timeoutSchema.min(1).default(300),
  metadata: wordsSchema.default({}),
  envVars: wordsSchema.default({}),
  allow_internet_access: z.boolean().default(true),
  secure: z.boolean().optional(),
  autoPause: z.boolean().default(false),
  autoPauseMemory: withMemory,
  autoResume: z.strictObject({ enabled: z.boolean() }).default({ enabled: false }),
});
const pauseSchema = z.strictObject({ memory: withMemory });
const connectSchema = z.strictObject({ timeout: timeoutSchema.optional(), memory: withMemory });
const resumeSchema = z.strictObject({ timeout: timeoutSchema.optional(), autoPause: z.literal(false).optional() });
const setTimeoutSchema = z.strictObject({ timeout: timeoutSchema });
const forkSchema = z.strictObject({
  count: z.int().min(1).max(MAX_COPIES).default(1),
  timeout: timeoutSchema.min(1).default(300),
});
const snapshotSchema = z.strictObject({
  name: z.never({ error: 'snapshots of this server have no names' }).optional(),
});
const snapshotsSchema = z.strictObject({
  sandboxID: z.string().max(64).optional(),
  name: z.string().max(256).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(100),
  nextToken: z.string().max(64).optional(),
});
/** The form of the ID of a snapshot, which is a template too. */
const SNAPSHOT = /^sn-[0-9a-f]{16}$/;
const listSchema = z.object({
  metadata: z.string().max(65_536).optional(),
  state: z.string().max(64).optional(),
  startedAfter: z.iso.datetime().optional(),
  template: z.string().max(512).optional(),
  order: z.enum(['desc'], { error: 'newest first is all there is' }).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(100),
  nextToken: z.string().max(64).optional(),
});

export interface ControlParts extends E2bParts {
  /** Images by the names of templates. Another name is that of an image. */
  templates: ReadonlyMap<string, string>;
  snapshots: Snapshots;
  /** What the hosts of ports end with. Undefined: no ports are served. */
  domain?: string | undefined;
}

export function controlApi({
  sandboxes,
  snapshots,
  templates,
  domain,
  tenants,
  limit,
  onFault,
  takeStranger,
  takeTenant,
}: ControlParts): Hono<Shared> {
  const api = new Hono<Shared>();
  const imageOf = (template: string) => templates.get(template) ?? template;
  api.onError((error) => {
    const told = onFault(error);
    const [status] = PROBLEMS[told.code];
    return Response.json({ code: status, message: told.message }, { status, headers: retryHeaders(told) });
  });
  // Hono takes each for the path above it too.
  for (const path of ['/sandboxes/*', '/v2/sandboxes/*', '/snapshots/*', '/templates/*']) {
    api.use(path, (context, next) => {
      const caller = tenants.authenticate(context.req.header('X-API-Key') ?? '');
      if (caller === undefined) {
        takeStranger(context);
        throw new ServiceError('unauthorized', 'an API key is needed: X-API-Key');
      }
      takeTenant(context, caller.tenant);
      checkScope(caller.scope, DEFAULT_SCOPE);
      return next();
    });
    api.use(path, limit);
  }

  const opened = (tenant: Tenant, record: SandboxRecord) => ({
    ...{ sandboxID: record.id, templateID: record.spec.image, clientID: 'tsvm', domain: domain ?? null },
    ...{ envdVersion: ENVD_VERSION, envdAccessToken: sandboxes.token(tenant, record.id) },
    ...(domain === undefined ? {} : { trafficAccessToken: sandboxes.portsToken(tenant, record.id) }),
  });
  const running = (tenant: Tenant, id: string) => {
    const record = sandboxes.find(tenant, id);
    if (record.status !== 'running') throw new ServiceError('not-found', 'no such sandbox');
    return record;
  };
  /** Also one that is paused. */
  const known = (tenant: Tenant, id: string) => {
    const record = sandboxes.find(tenant, id);
    if (!KNOWN.some((status) => status === record.status)) throw new ServiceError('not-found', 'no such sandbox');
    return record;
  };

  api.on('POST', ['/sandboxes', '/v2/sandboxes'], async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const asked = parse(createSchema, await readJson(context), 'body');
    const ends = { atExpiry: asked.autoPause ? 'pause' : 'end', resumeOnUse: asked.autoResume.enabled } as const;
    if (SNAPSHOT.test(asked.templateID)) {
      const { spec } = snapshots.find(tenant, asked.templateID);
      checkContinued(asked, spec);
      const own = { metadata: asked.metadata, lifetime: asked.timeout * SECOND, ...ends };
      return context.json(opened(tenant, await snapshots.start(tenant, asked.templateID, own)), 201);
    }
    const spec = specSchema.parse({
      image: imageOf(asked.templateID),
      ...{ env: asked.envVars, metadata: asked.metadata, lifetime: asked.timeout * SECOND },
      network: asked.allow_internet_access ? 'public' : 'none',
      ...ends,
    });
    return context.json(opened(tenant, await sandboxes.create(tenant, spec)), 201);
  });
  api.on('GET', ['/sandboxes', '/v2/sandboxes'], (context) => {
    const query = parse(listSchema, context.req.query(), 'query');
    const { limit, nextToken: before, startedAfter = '', template, state = 'running,paused' } = query;
    const wanted = [...new URLSearchParams(query.metadata ?? '')].map(([name, word]) => [decode(name), decode(word)]);
    const tenant = tenantOf(context.get('tenant'));
    const states = state.split(',');
    const statuses = KNOWN.filter((status) => states.includes(stateOf(status)));
    const list = (limit: number) => sandboxes.list(tenant, { limit, before, statuses });
    const { page, next } = pageOf(limit, list, (record) => sandboxes.cursor(record));
    if (next !== undefined) context.header('X-Next-Token', next);
    const matches = ({ spec, started = '' }: SandboxRecord) =>
      wanted.every(([name = '', word]) => spec.metadata[name] === word) &&
      started >= startedAfter &&
      (template === undefined || spec.image === imageOf(template));
    return context.json(page.filter(matches).map(described));
  });
  api.get('/sandboxes/:id', (context) =>
    context.json(described(known(tenantOf(context.get('tenant')), context.req.param('id')))),
  );
  api.delete('/sandboxes/:id', async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const { id } = known(tenant, context.req.param('id'));
    await sandboxes.stop(tenant, id);
    return context.body(null, 204);
  });
  api.post('/sandboxes/:id/timeout', async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const { id } = running(tenant, context.req.param('id'));
    const { timeout } = parse(setTimeoutSchema, await readJson(context), 'body');
    sandboxes.setLifetime(tenant, id, timeout * SECOND);
    return context.body(null, 204);
  });
  api.on('POST', ['/sandboxes/:id/connect', '/v2/sandboxes/:id/connect'], async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const record = known(tenant, context.req.param('id'));
    const { timeout } = parse(connectSchema, await readJson(context), 'body');
    const lifetime = timeout && timeout * SECOND;
    if (record.status !== 'running') await sandboxes.wake(tenant, record.id, lifetime);
    // Another may have resumed it.
    if (lifetime !== undefined) sandboxes.setLifetime(tenant, record.id, lifetime, { atLeast: true });
    return context.json(opened(tenant, record));
  });
  api.post('/sandboxes/:id/pause', async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const { id } = known(tenant, context.req.param('id'));
    parse(pauseSchema, await readJson(context), 'body');
    await sandboxes.pause(tenant, id);
    return context.body(null, 204);
  });
  api.post('/sandboxes/:id/resume', async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const { id } = known(tenant, context.req.param('id'));
    const { timeout } = parse(resumeSchema, await readJson(context), 'body');
    return context.json(opened(tenant, await sandboxes.resume(tenant, id, timeout && timeout * SECOND)), 201);
  });
  api.post('/sandboxes/:id/fork', async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const { id } = known(tenant, context.req.param('id'));
    const { count, timeout } = parse(forkSchema, await readJson(context), 'body');
    const copies = await snapshots.fork(tenant, id, { count, lifetime: timeout * SECOND });
    const [code] = PROBLEMS.internal;
    const results = copies.map((copy) =>
      copy.status === 'running'
        ? { sandbox: opened(tenant, copy) }
        : { error: { code, message: copy.error ?? 'the sandbox is not running' } },
    );
    return context.json(results, 201);
  });
  api.post('/sandboxes/:id/snapshots', async (context) => {
    const tenant = tenantOf(context.get('tenant'));
    const { id } = known(tenant, context.req.param('id'));
    parse(snapshotSchema, await readJson(context), 'body');
    return context.json(describedSnapshot(await snapshots.create(tenant, id)), 201);
  });
  api.get('/snapshots', (context) => {
    const query = parse(snapshotsSchema, context.req.query(), 'query');
    const { limit, nextToken: before, sandboxID: sandbox, name } = query;
    const tenant = tenantOf(context.get('tenant'));
    const list = (limit: number) => snapshots.list(tenant, { limit, before, sandbox });
    const { page, next } = pageOf(limit, list, (record) => snapshots.cursor(record));
    if (next !== undefined) context.header('X-Next-Token', next);
    return context.json(page.filter(({ id }) => name === undefined || id === name).map(describedSnapshot));
  });
  // A snapshot is a template to the client.
  api.delete('/templates/:id', async (context) => {
    await snapshots.remove(tenantOf(context.get('tenant')), context.req.param('id'));
    return context.body(null, 204);
  });
  // What there is of E2B's API beyond this is refused by name.
  for (const action of ['metrics', 'network', 'refreshes', 'logs']) {
    api.all(`/sandboxes/:id/${action}`, (context) => {
      running(tenantOf(context.get('tenant')), context.req.param('id'));
      throw new ServiceError('bad-request', `this server has no ${action} of sandboxes`);
    });
  }
  return api;
}

/** The statuses of those that the client may find. */
const KNOWN = ['running', 'pausing', 'paused', 'resuming'] as const satisfies SandboxRecord['status'][];

function stateOf(status: SandboxRecord['status']): 'running' | 'paused' {
  return status === 'running' ? 'running' : 'paused';
}

function described({ id, spec, status, created, started = created, expires = started }: SandboxRecord): object {
  return {
    ...{ sandboxID: id, templateID: spec.image, clientID: 'tsvm', domain: null },
    ...{ startedAt: started, endAt: expires, state: stateOf(status), envdVersion: ENVD_VERSION },
    ...{ cpuCount: Math.ceil(spec.cpus), memoryMB: Math.floor(spec.memory / MIB) },
    ...{ diskSizeMB: Math.floor(spec.disk / MIB), metadata: spec.metadata, volumeMounts: [] },
    allowInternetAccess: spec.network === 'public',
    lifecycle: { onTimeout: spec.atExpiry === 'pause' ? 'pause' : 'kill', autoResume: spec.resumeOnUse },
  };
}

function describedSnapshot({ id }: SnapshotRecord): object {
  return { snapshotID: id, names: [] };
}

/** What a snapshot has cannot be changed. @throws ServiceError `bad-request` */
function checkContinued(asked: z.output<typeof createSchema>, { network }: SandboxSpec): void {
  if (Object.keys(asked.envVars).length > 0) {
    throw new ServiceError('bad-request', 'body.envVars: a sandbox has those of its snapshot');
  }
  if (!asked.allow_internet_access && network === 'public') {
    throw new ServiceError('bad-request', 'body.allow_internet_access: the sandbox of the snapshot had it');
  }
}

/** The client encodes words twice. @throws ServiceError `bad-request` */
function decode(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch (cause) {
    throw new ServiceError('bad-request', 'query.metadata: not encoded as an URL', { cause });
  }
}

function tenantOf(tenant: Tenant | undefined): Tenant {
  if (tenant === undefined) throw new ServiceError('unauthorized', 'no tenant is known');
  return tenant;
}
