// Ports of sandboxes: a request whose host names one goes there, with all its paths, and a
// WebSocket too. The token of the sandbox's ports opens them, and does not reach them.
import { type IncomingMessage, request } from 'node:http';
import { type Duplex, pipeline } from 'node:stream';
import type { Context, MiddlewareHandler } from 'hono';
import { hasCode } from '../../errors/index.js';
import { ServiceError } from '../errors.js';
import type { Ports } from '../sandboxes/ports.js';
import type { Sandboxes } from '../sandboxes/sandboxes.js';
import type { TenantStore } from '../store/tenant-store.js';
import type { Shared, TakeTenant } from './audit.js';
import { answerHeaders, hasBody, requestHeaders, TOKEN_HEADERS } from './port-headers.js';
import { portFinder } from './port-host.js';
import type { Upgrades } from './upgrade.js';

export interface PortTimes {
  /** Milliseconds until an answer begins, after the request has arrived. */
  head: number;
  /** Milliseconds in which nothing moves until a connection ends. */
  idle: number;
}
const OK = 200;
const OTHER_PROTOCOL = 'the port changes to another protocol than was asked for';
export const PORT_TIMES: PortTimes = { head: 120_000, idle: 300_000 };

export interface PortParts {
  /** What the hosts of ports end with. Undefined: no ports are served. */
  domain?: string | undefined;
  ports: Pick<Ports, 'connect'>;
  sandboxes: Pick<Sandboxes, 'authenticatePorts'>;
  tenants: Pick<TenantStore, 'find'>;
  upgrades: Upgrades;
  times: PortTimes;
  /** Counts a request of one who is unknown. @throws ServiceError `rate` */
  takeStranger: (context: Context<Shared>) => void;
  takeTenant: TakeTenant;
}

/** Takes the requests to ports. Others go on. */
export function servePorts({ domain, times, ...parts }: PortParts): MiddlewareHandler<Shared> {
  const { ports, sandboxes, tenants, upgrades, takeStranger, takeTenant } = parts;
  const find = portFinder(domain);
  return async (context, next) => {
    const named = find(context.env.incoming.headers.host);
    if (named === undefined) return await next();
    const token = TOKEN_HEADERS.map((name) => context.req.header(name)).find((value) => value !== undefined);
    const name = sandboxes.authenticatePorts(named.id, token ?? '');
    const tenant = name === undefined ? undefined : tenants.find(name);
    // A wrong token, another's sandbox, one that has ended, and none at all are the same.
    if (tenant === undefined) {
      takeStranger(context);
      throw new ServiceError('not-found', 'no such sandbox');
    }
    context.set('port', named);
    takeTenant(context, tenant, 'ports');
    const headers = requestHeaders(context.env.incoming, upgrades.isAsked(context));
    const { signal } = context.req.raw;
    const connection = await ports.connect(tenant, named.id, named.port, signal);
    const leave = () => connection.destroy();
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    context.env.outgoing.setTimeout(times.idle, leave);
    try {
      const answer = await ask(context, { connection, headers, upgrades, head: times.head });
      if (answer.rest === undefined) send(context, { ...answer, connection });
      else handOver(context, { ...answer, rest: answer.rest, connection, upgrades, idle: times.idle });
    } catch (error) {
      connection.destroy();
      throw told(error, named.port);
    }
    return upgrades.answer;
  };
}

/** What a port has answered. `rest` is what came behind a 101. Undefined: its body is to come. */
interface PortAnswer {
  message: IncomingMessage;
  rest?: Buffer | undefined;
}

interface Question {
  connection: Duplex;
  headers: string[];
  upgrades: Upgrades;
  head: number;
}

/** Passes the request on, and resolves when an answer begins. */
function ask(context: Context<Shared>, { connection, headers, upgrades, head }: Question): Promise<PortAnswer> {
  const { incoming } = context.env;
  return new Promise((resolve, reject) => {
    const { method, url: path } = incoming;
    const asked = request({
      ...{ method, path, headers, createConnection: () => connection },
      ...{ insecureHTTPParser: false, joinDuplicateHeaders: false },
    });
    let late: NodeJS.Timeout | undefined;
    const wait = () => {
      const end = () => asked.destroy(new ServiceError('unresponsive', 'the port did not answer in time'));
      late = setTimeout(end, head);
    };
    // An answer may begin before the request has come to its end.
    const stopWaiting = () => {
      clearTimeout(late);
      incoming.off('end', wait);
    };
    asked.on('error', reject);
    asked.once('close', () => {
      stopWaiting();
      reject(new ServiceError('no-port', 'the port did not answer'));
    });
    asked.once('response', (message: IncomingMessage) => {
      stopWaiting();
      // Some take 101 without a word of the protocol for an answer that is followed by another one.
      if ((message.statusCode ?? 0) >= OK) resolve({ message });
      else reject(new ServiceError('no-port', OTHER_PROTOCOL));
    });
    asked.once('upgrade', (message: IncomingMessage, _socket: Duplex, rest: Buffer) => {
      stopWaiting();
      if (upgrades.isAsked(context) && message.headers.upgrade?.toLowerCase() === 'websocket')
        resolve({ message, rest });
      else reject(new ServiceError('no-port', OTHER_PROTOCOL));
    });
    if (hasBody(incoming)) {
      incoming.once('end', wait);
      incoming.pipe(asked);
    } else {
      wait();
      asked.end();
    }
  });
}

interface Passing {
  message: IncomingMessage;
  connection: Duplex;
}

/** Passes the answer on. The connection ends with it. @throws an error for a head that is none */
function send(context: Context<Shared>, { message, connection }: Passing): void {
  const { incoming, outgoing } = context.env;
  const { statusCode = 0, statusMessage = '' } = message;
  // What comes of the request from now on would be taken for the next one.
  if (!incoming.complete) outgoing.shouldKeepAlive = false;
  outgoing.writeHead(statusCode, statusMessage, answerHeaders(message));
  outgoing.flushHeaders();
  context.set('sent', statusCode);
  pipeline(message, outgoing, () => connection.destroy());
}

/** Joins the connections of both sides. Each ends when the other has ended. */
function handOver(
  context: Context<Shared>,
  { message, rest, connection, upgrades, idle }: Passing & { rest: Buffer; upgrades: Upgrades; idle: number },
): void {
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket'];
  const headers = answerHeaders(message);
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  const { socket, head } = upgrades.take(context);
  socket.write(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), rest]));
  if (head.length > 0) connection.write(head);
  socket.setTimeout(idle, () => socket.destroy());
  socket.once('close', () => connection.destroy());
  connection.once('close', () => socket.destroySoon());
  socket.pipe(connection).pipe(socket);
}

/** What a caller is told of a port that gave no answer. */
function told(error: unknown, port: number): ServiceError {
  if (error instanceof ServiceError) return error;
  const options = { cause: error };
  if (hasCode(error, 'not-running', 'machine-died')) {
    return new ServiceError('not-running', 'the sandbox is not running', options);
  }
  return new ServiceError('no-port', `nothing that speaks HTTP/1.1 listens at port ${port}`, options);
}
