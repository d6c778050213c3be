// Requests that ask for a WebSocket. They pass through the application as all requests do, with its
// checks, rates and logs; the operation that takes one accepts it.
import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context } from 'hono';
import { type WebSocket, WebSocketServer } from 'ws';
import { ServiceError } from '../errors.js';
import type { Shared } from './audit.js';

/** Headers of a request for another protocol: RFC 9110, 7.8, and RFC 7540, 3.2. */
const UPGRADE_HEADERS = new Set(['upgrade', 'http2-settings']);

export interface UpgradeOptions {
  /** Bytes of a message. */
  maxMessage: number;
  /** Subprotocol, if the client names it. */
  protocol: string;
}

export class Upgrades {
  readonly #sockets: WebSocketServer;
  readonly #asked = new WeakMap<IncomingMessage, { socket: Socket; head: Buffer }>();
  /** Connections that the server itself does not know any more. */
  readonly #open = new Set<Duplex>();

  constructor({ maxMessage, protocol }: UpgradeOptions) {
    this.#sockets = new WebSocketServer({
      ...{ noServer: true, clientTracking: false, maxPayload: maxMessage },
      ...{ perMessageDeflate: false, autoPong: false },
      handleProtocols: (names) => names.has(protocol) && protocol,
    });
    // Without a listener it would answer by itself.
    this.#sockets.on('wsClientError', () => {});
  }

  /** Hands the requests of a server to its application. */
  serve(server: Server): void {
    server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      if (request.headers.upgrade?.toLowerCase() !== 'websocket') return serveWithoutUpgrade(server, request, head);
      socket.on('error', () => {});
      this.#open.add(socket);
      socket.once('close', () => this.#open.delete(socket));
      const answer = new ServerResponse(request);
      answer.shouldKeepAlive = false;
      answer.assignSocket(socket);
      // Not left half open: who keeps its side would hold one of the server's connections for ever.
      answer.once('finish', () => socket.destroySoon());
      this.#asked.set(request, { socket, head });
      server.emit('request', request, answer);
    });
  }

  /** True if the request asks for a WebSocket that it has not got. */
  isAsked({ env }: Context<Shared>): boolean {
    return this.#asked.has(env.incoming);
  }

  /** @throws ServiceError `bad-request` */
  accept(context: Context<Shared>): WebSocket {
    const { incoming, outgoing } = context.env;
    const asked = this.#asked.get(incoming);
    let accepted: WebSocket | undefined;
    if (asked !== undefined) {
      // It calls back before it returns.
      this.#sockets.handleUpgrade(incoming, asked.socket, asked.head, (socket) => {
        accepted = socket;
      });
    }
    if (accepted === undefined) throw new ServiceError('bad-request', 'a handshake of WebSocket is needed: RFC 6455');
    this.#asked.delete(incoming);
    outgoing.detachSocket(incoming.socket);
    context.set('sent', 101);
    return accepted;
  }

  /**
   * Hands over the connection itself, with what came behind the request. Whoever takes it writes the
   * answer, and ends it.
   * @throws ServiceError `bad-request` if the request does not ask for a WebSocket
   */
  take(context: Context<Shared>): { socket: Socket; head: Buffer } {
    const { incoming, outgoing } = context.env;
    const asked = this.#asked.get(incoming);
    if (asked === undefined) throw new ServiceError('bad-request', 'a handshake of WebSocket is needed: RFC 6455');
    this.#asked.delete(incoming);
    outgoing.detachSocket(incoming.socket);
    context.set('sent', 101);
    return asked;
  }

  /** What an operation answers that has accepted. */
  get answer(): Response {
    return RESPONSE_ALREADY_SENT;
  }

  /** Discards what follows a request that got another answer: so its end is noticed. */
  refuse({ env }: Context<Shared>): void {
    this.#asked.get(env.incoming)?.socket.resume();
  }

  /** Ends all, however far they are. */
  close(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

/** Serves a request as one that has not asked: HTTP lets a server ignore the wish, as for `h2c`. */
function serveWithoutUpgrade(server: Server, request: IncomingMessage, head: Buffer): void {
  const { method, url, rawHeaders, socket } = request;
  const lines = [`${method} ${url} HTTP/1.1`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!UPGRADE_HEADERS.has(rawHeaders[i]!.toLowerCase())) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit('connection', socket);
}
