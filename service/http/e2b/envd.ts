// The API of E2B's daemon in a sandbox. Here the server speaks it for all sandboxes: a request names its
// sandbox by a header or by its host, and has the sandbox's token.
import { Readable } from 'node:stream';
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import { ServiceError } from '../../errors.js';
import type { Tenant } from '../../records.js';
import type { Commands } from '../../sandboxes/commands.js';
import type { Files } from '../../sandboxes/files.js';
import type { Places } from '../../sandboxes/places.js';
import type { Shared } from '../audit.js';
import { endStalled, READER_TIMES, type ReaderTimes, withLaterBeats } from '../event-stream.js';
import { parse, parseJson } from '../request.js';
import { ConnectError, endEnvelope, envelope, errorAnswer, openEnvelope, timeoutOf } from './connect.js';
import { filesystemMethods } from './filesystem.js';
import type { EnvdCall, Method } from './method.js';
import type { E2bParts } from './parts.js';
import { processMethods } from './process.js';
import { download, failed, upload } from './transfer.js';

/** The port that E2B's daemon listens on, in names of hosts. */
const HOST = /^49983-(sb-[0-9a-f]{16})\./;
const JSON_TYPE = 'application/json';
const STREAM_TYPE = 'application/connect+json';
const KEEP_ALIVE = envelope({ event: { keepalive: {} } });

export interface EnvdParts extends E2bParts {
  commands: Commands;
  files: Files;
  places: Places;
  readers?: ReaderTimes | undefined;
}

export function envdApi({ readers = READER_TIMES, ...parts }: EnvdParts) {
  const { sandboxes, commands, files, places, tenants, limit, onFault, takeStranger, takeTenant } = parts;
  const api = new Hono<Shared>();
  const opened = (context: Context<Shared>): { tenant: Tenant; id: string } | undefined => {
    const id = context.req.header('E2b-Sandbox-Id') ?? HOST.exec(context.req.header('Host') ?? '')?.[1] ?? '';
    const name = sandboxes.authenticate(id, context.req.header('X-Access-Token') ?? '');
    const tenant = name === undefined ? undefined : tenants.find(name);
    if (tenant === undefined) {
      takeStranger(context);
      return undefined;
    }
    takeTenant(context, tenant);
    return sandboxes.takes(tenant, id) ? { tenant, id } : undefined;
  };
  const known: MiddlewareHandler<Shared> = async (context, next) => {
    const found = opened(context);
    if (found === undefined) return noSandbox();
    context.set('opened', found);
    return await next();
  };
  const callOf = (context: Context<Shared>, found: { tenant: Tenant; id: string }): EnvdCall => ({
    ...found,
    user: userOf(context.req.header('Authorization')),
    timeout: timeoutOf(context.req.header('Connect-Timeout-Ms')),
    signal: context.req.raw.signal,
  });
  const asError = (error: unknown) => (error instanceof ConnectError ? error : onFault(error));

  const unaryAnswer = async (context: Context<Shared>, method: Method & { kind: 'unary' }, call: EnvdCall) => {
    if (!context.req.header('Content-Type')?.startsWith(JSON_TYPE)) return notTaken(JSON_TYPE);
    const request = parse(method.request, parseJson(await context.req.text()), 'body');
    return context.json(await method.handle(call, request));
  };
  const streamAnswer = async (context: Context<Shared>, method: Method & { kind: 'streaming' }, call: EnvdCall) => {
    if (!context.req.header('Content-Type')?.startsWith(STREAM_TYPE)) return notTaken(STREAM_TYPE);
    const body = Buffer.from(await context.req.arrayBuffer());
    const gone = new AbortController();
    const signal = AbortSignal.any([call.signal, gone.signal]);
    const envelopes = async function* () {
      try {
        const request = parse(method.request, parseJson(openEnvelope(body)), 'body');
        for await (const message of method.handle({ ...call, signal }, request)) yield envelope(message);
        yield endEnvelope();
      } catch (error) {
        if (!signal.aborted) yield endEnvelope(asError(error));
      }
    };
    endStalled(context.env, readers.stall);
    // The client takes the first message for the start, however long that takes.
    const messages = withLaterBeats(envelopes(), readers.beat, KEEP_ALIVE);
    const answer = Readable.from(messages, { objectMode: false });
    answer.once('close', () => gone.abort());
    return new Response(Readable.toWeb(answer) as ReadableStream, { headers: { 'Content-Type': STREAM_TYPE } });
  };

  const transfer =
    (act: (context: Context<Shared>, call: EnvdCall) => Promise<Response>) => async (context: Context<Shared>) => {
      const found = opened(context);
      if (found === undefined) return noSandbox();
      try {
        return await act(context, callOf(context, found));
      } catch (error) {
        return failed(onFault(error));
      }
    };
  api.get(
    '/files',
    transfer((context, call) => download(context, files, call, readers.stall)),
  );
  api.post(
    '/files',
    transfer((context, call) => upload(context, files, places, call)),
  );
  // What one is told who asks too often, before a method is known.
  api.onError((error) => errorAnswer(asError(error)));
  // To ask whether it runs is no use of it.
  api.get('/health', (context) => {
    const found = opened(context);
    const runs = found !== undefined && sandboxes.find(found.tenant, found.id).status === 'running';
    return runs ? context.body(null, 204) : noSandbox();
  });
  for (const [path, method] of Object.entries({ ...processMethods(commands), ...filesystemMethods(files) })) {
    // The token is checked before the body is read.
    api.post(path, known, limit, async (context) => {
      const found = context.get('opened');
      if (found === undefined) return noSandbox();
      const call = callOf(context, found);
      return method.kind === 'unary'
        ? await unaryAnswer(context, method, call)
        : await streamAnswer(context, method, call);
    });
  }
  // The services' methods that there are not. The star keeps it from being told as the route of the others.
  api.post('/:service{(process|filesystem)\\..+}/*', (context) => {
    if (opened(context) === undefined) return noSandbox();
    throw new ConnectError('unimplemented', 'this server has no such method');
  });
  return api;
}

/** A wrong token, another's sandbox, one that has ended, and none at all are the same. */
function noSandbox(): Response {
  return Response.json({ code: 502, message: 'the sandbox was not found' }, { status: 502 });
}

function notTaken(type: string): Response {
  return new Response(`the Content-Type ${type} is needed`, { status: 415, headers: { 'Accept-Post': type } });
}

/** The name in `Basic NAME:`, without a password. @throws ServiceError `bad-request` */
function userOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const [, encoded = ''] = /^Basic ([\w+/]{1,512}={0,2})$/i.exec(header) ?? [];
  const [, user] = /^([^:\0]{1,256}):$/.exec(Buffer.from(encoded, 'base64').toString('utf8')) ?? [];
  if (user === undefined) throw new ServiceError('bad-request', 'Authorization: Basic with a user alone is needed');
  return user;
}
