// The HTTP server: who calls, is the request what the API describes, and what is answered.
import { Server } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { createAdaptorServer, type HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { hasCode } from '../../errors/index.js';
import { ServiceError } from '../errors.js';
import type { Jobs } from '../jobs/jobs.js';
import type { Commands } from '../sandboxes/commands.js';
import type { Files } from '../sandboxes/files.js';
import type { Places } from '../sandboxes/places.js';
import type { Ports } from '../sandboxes/ports.js';
import type { Sandboxes } from '../sandboxes/sandboxes.js';
import type { Snapshots } from '../sandboxes/snapshots.js';
import { checkScope } from '../scope.js';
import type { SecretStore } from '../store/secret-store.js';
import type { Statistics } from '../store/statistics.js';
import type { Caller, TenantStore } from '../store/tenant-store.js';
import { audited, type Shared, type TakeTenant } from './audit.js';
import { Connections } from './connections.js';
import { controlApi } from './e2b/control.js';
import { envdApi } from './e2b/envd.js';
import { endStalled, READER_TIMES, type ReaderTimes } from './event-stream.js';
import { EXEC_PROTOCOL } from './exec-channels.js';
import { type Address, listen } from './listen.js';
import type { Metrics } from './metrics.js';
import { ARCHIVE_TYPE, EVENTS_TYPE, LINES_TYPE, openApiDocument } from './openapi.js';
import { servePage } from './page.js';
import { PORT_TIMES, type PortTimes, servePorts } from './ports.js';
import { asServiceError, problemOf } from './problem.js';
import type { RequestRates } from './rate-limiter.js';
import { bounded, parse, readJson } from './request.js';
import { type Call, DEFAULT_SCOPE, type Route } from './route.js';
import { ROUTES } from './routes.js';
import { Upgrades } from './upgrade.js';

/** Bytes of a request's body. */
export const MAX_BODY = 2 ** 20;
/** Bytes of an archive, which is never in memory as a whole. */
const MAX_ARCHIVE = 2 ** 30;
const MAX_KEY = 255;
const MAX_CONNECTIONS = 1000;
/** Milliseconds for a request's headers, and for all of it. */
const HEADERS_TIMEOUT = 10_000;
const REQUEST_TIMEOUT = 120_000;
const CHECK_INTERVAL = 1000;
/**
 * Milliseconds that a connection without a request is kept, which its client is told. With Node's
 * five seconds, a client that a busy host kept waiting sent its next request as the server closed.
 */
const IDLE_TIMEOUT = 30_000;
/** Milliseconds of silence until TCP asks whether the other side is there. */
const KEEP_ALIVE_DELAY = 15_000;
/** Milliseconds that requests under way get to end. */
const DRAIN_TIMEOUT = 20_000;

export interface ServerParts {
  /** Path of the data folder, for the audit log. */
  folder: string;
  tenants: TenantStore;
  sandboxes: Sandboxes;
  snapshots: Snapshots;
  jobs: Jobs;
  places: Places;
  secrets: SecretStore;
  statistics: Statistics;
  commands: Commands;
  files: Files;
  ports: Pick<Ports, 'connect'>;
  /** What the hosts of ports of sandboxes end with. Undefined: no ports are served. */
  domain?: string | undefined;
  portTimes?: PortTimes | undefined;
  /** Images by the names of E2B's templates. */
  templates: ReadonlyMap<string, string>;
  /** Called with a failure whose caller is told no more than that. */
  onFault: (message: string) => void;
  readers?: ReaderTimes | undefined;
  /** Connections at one time. */
  connections?: number | undefined;
  /** Milliseconds for the headers of a request. */
  headersTimeout?: number | undefined;
  rates: RequestRates;
  metrics?: Metrics | undefined;
}

export interface HttpServer {
  /** `http://127.0.0.1:7070` */
  url: string;
  /** Takes no new request, and resolves when those under way have ended or their time is over. */
  close(): Promise<void>;
}

/** @throws an error with the errno of listen(2) */
export async function startServer(address: Address, parts: ServerParts): Promise<HttpServer> {
  const upgrades = new Upgrades({ maxMessage: MAX_BODY, protocol: EXEC_PROTOCOL });
  const connections = new Connections(parts.connections ?? MAX_CONNECTIONS);
  const app = createApp(parts, upgrades, connections);
  const server = createAdaptorServer({
    fetch: async (request, bindings) => {
      const answer = await app.fetch(request, bindings as HttpBindings);
      // Of an answer to HEAD, Hono makes another one.
      return bindings.outgoing.headersSent ? upgrades.answer : answer;
    },
    serverOptions: {
      headersTimeout: parts.headersTimeout ?? HEADERS_TIMEOUT,
      requestTimeout: REQUEST_TIMEOUT,
      keepAliveTimeout: IDLE_TIMEOUT,
      insecureHTTPParser: false,
      connectionsCheckingInterval: CHECK_INTERVAL,
      // A reader that vanished is noticed while there is nothing to send.
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
    },
  });
  if (!(server instanceof Server)) throw new TypeError('not a server of HTTP/1');
  /** Connections on which no request has come yet. */
  const silent = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
  });
  server.on('clientError', answerBroken);
  // A server that ends waits for requests that are under way, and not for what may come behind
  // them.
  server.on('request', ({ socket }, response) => {
    silent.delete(socket);
    response.once('close', () => {
      if (!server.listening) server.closeIdleConnections();
    });
  });
  server.on('upgrade', ({ socket }) => silent.delete(socket));
  upgrades.serve(server);
  const url = await listen(server, address);
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        const late = setTimeout(() => {
          server.closeAllConnections();
          upgrades.close();
        }, DRAIN_TIMEOUT);
        server.close(() => {
          clearTimeout(late);
          resolve();
        });
        server.closeIdleConnections();
        for (const socket of silent) socket.destroy();
      }),
  };
}

/** What is no HTTP gets an answer of the one shape, and no more of the connection. */
function answerBroken(_error: Error, socket: Socket): void {
  if (!socket.writable) return;
  const body = JSON.stringify({
    ...{ type: 'about:blank', title: 'The request is wrong', status: 400 },
    ...{ detail: 'not a request of HTTP/1.1', code: 'bad-request' },
  });
  const lines = ['HTTP/1.1 400 Bad Request', 'Content-Type: application/problem+json'];
  lines.push(`Content-Length: ${Buffer.byteLength(body)}`, 'Connection: close', '', body);
  socket.end(lines.join('\r\n'));
}

function createApp(parts: ServerParts, upgrades: Upgrades, connections: Connections): Hono<Shared> {
  const app = new Hono<Shared>();
  const document = openApiDocument();
  const onFault = (error: unknown) => tellFault(error, parts.onFault);
  app.use(audited(parts.folder));
  if (parts.metrics !== undefined) app.use(parts.metrics.counted());
  // An error may leave a part of the body unread, which would be taken for the next request.
  app.use(async (context, next) => {
    await next();
    const isRead = context.env.incoming.complete && !['POST', 'PUT'].includes(context.req.method);
    if (context.res.status >= 400 && !isRead) context.res.headers.set('Connection', 'close');
  });
  // What no caller reads is closed: HEAD is answered as GET, without the body.
  app.use(async (context, next) => {
    await next();
    if (context.req.method === 'HEAD') await context.res.body?.cancel();
  });
  app.use(async (context, next) => {
    await next();
    upgrades.refuse(context);
  });
  // An answer of the API is no page of this origin, whatever a browser takes it for.
  app.use(async (context, next) => {
    await next();
    const { headers } = context.res;
    headers.set('X-Content-Type-Options', 'nosniff');
    if (!headers.has('Content-Security-Policy')) headers.set('Content-Security-Policy', "default-src 'none'; sandbox");
  });
  const takeStranger = (context: Context<Shared>) =>
    parts.rates.takeStranger(context.env.incoming.socket.remoteAddress);
  const takeTenant: TakeTenant = (context, tenant, of) => {
    context.set('tenant', tenant);
    connections.claim(context.env.incoming.socket, of === undefined ? tenant.name : `${of} of ${tenant.name}`);
    parts.rates.takeTenant(tenant);
  };
  app.use(servePorts({ ...parts, times: parts.portTimes ?? PORT_TIMES, upgrades, takeStranger, takeTenant }));
  app.get('/healthz', (context) => context.json({ status: 'ok' }));
  app.get('/openapi.json', (context) => {
    takeStranger(context);
    return context.json(document);
  });
  servePage(app, takeStranger);
  const limit = bodyLimit({
    maxSize: MAX_BODY,
    onError: () => problemOf(new ServiceError('too-large', `the body has more than ${MAX_BODY} bytes`)),
  });
  for (const route of ROUTES) {
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1');
    // The key is checked before the body is read.
    app.on(
      route.method,
      path,
      (context, next) => {
        const caller = authenticate(context, parts.tenants);
        if (caller === undefined) {
          takeStranger(context);
          throw new ServiceError('unauthorized', 'an API key is needed: Authorization: Bearer KEY');
        }
        context.set('scope', caller.scope);
        takeTenant(context, caller.tenant);
        checkScope(caller.scope, route.scope ?? DEFAULT_SCOPE);
        return next();
      },
      route.archive === 'request' ? (_context, next) => next() : limit,
      (context) => answer(context, route, { ...parts, upgrades, onFault }),
    );
  }
  const e2b = { ...parts, limit, onFault, takeStranger, takeTenant };
  app.route('/', controlApi(e2b));
  app.route('/', envdApi(e2b));
  app.notFound((context) => {
    takeStranger(context);
    throw new ServiceError('not-found', 'no such path');
  });
  app.onError((error) => problemOf(onFault(error)));
  return app;
}

/** What a caller is told of an error. The administrator gets what no code expects. */
function tellFault(error: unknown, onFault: ServerParts['onFault']): ServiceError {
  // Its caller is gone.
  if (hasCode(error, 'ECONNRESET')) return new ServiceError('bad-request', 'the request broke off');
  const told = asServiceError(error);
  if (told !== error) onFault(`internal error: ${error instanceof Error ? error.stack : error}`);
  return told;
}

function authenticate(context: Context<Shared>, tenants: TenantStore): Caller | undefined {
  const [, key = ''] = /^Bearer (\S{1,256})$/i.exec(context.req.header('Authorization') ?? '') ?? [];
  return tenants.authenticate(key);
}

interface AnswerParts extends Omit<ServerParts, 'onFault'> {
  upgrades: Upgrades;
  /** What a caller is told of an error. */
  onFault: (error: unknown) => ServiceError;
}

async function answer(context: Context<Shared>, route: Route, parts: AnswerParts): Promise<Response> {
  const [tenant, scope] = [context.get('tenant'), context.get('scope')];
  if (tenant === undefined || scope === undefined) throw new ServiceError('unauthorized', 'no tenant is known');
  const query = route.query === undefined ? undefined : parse(route.query, queryOf(context), 'query');
  const body = route.body === undefined ? undefined : parse(route.body, await readJson(context), 'body');
  const { signal } = context.req.raw;
  const id = context.req.param('id') ?? '';
  const archive = Readable.from(bounded(context.req.raw.body, MAX_ARCHIVE));
  const { tenants, sandboxes, snapshots, jobs, places, secrets, statistics, commands, domain } = parts;
  const { upgrades, onFault, readers = READER_TIMES } = parts;
  const lastEvent = context.req.header('Last-Event-ID');
  const call: Call = {
    ...{ tenant, scope, tenants, sandboxes, snapshots, jobs, places, secrets, statistics, commands, domain },
    ...{ id, key: keyOf(context), lastEvent },
    ...{ ...readers, onFault, signal, archive },
  };
  const result = await route.handle(call, { query, body });
  if (route.socket !== undefined) {
    route.socket.serve(call, upgrades.accept(context));
    return upgrades.answer;
  }
  if (result instanceof Readable) {
    endStalled(context.env, readers.stall);
    const headers = { 'Content-Type': typeOf(route), 'Cache-Control': 'no-store' };
    return new Response(Readable.toWeb(result) as ReadableStream, { status: route.status, headers });
  }
  return result === undefined
    ? new Response(null, { status: route.status })
    : Response.json(result, { status: route.status });
}

function typeOf({ lines, events }: Route): string {
  if (events !== undefined) return EVENTS_TYPE;
  return lines === undefined ? ARCHIVE_TYPE : LINES_TYPE;
}

/** @throws ServiceError `bad-request` for a word that is given twice */
function queryOf(context: Context<Shared>): Record<string, string> {
  const all = Object.entries(context.req.queries());
  return Object.fromEntries(
    all.map(([name, [value = '', ...more]]) => {
      if (more.length > 0) throw new ServiceError('bad-request', `query: ${JSON.stringify(name)} is given twice`);
      return [name, value];
    }),
  );
}

function keyOf(context: Context<Shared>): string | undefined {
  const key = context.req.header('Idempotency-Key');
  if (key !== undefined && (key === '' || key.length > MAX_KEY)) {
    throw new ServiceError('bad-request', `Idempotency-Key: 1 to ${MAX_KEY} characters are needed`);
  }
  return key;
}
