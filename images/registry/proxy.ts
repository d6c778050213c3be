// A proxy of HTTP for a program of this host that speaks HTTP itself, and gets addresses from a
// stranger: git. All its connections go through here, so that none leads nearer to this host than it
// may, whatever its redirects and names lead to.
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ImageError } from '../errors.js';
import { checkHost, farther, lookupWithin, notPublic, type Reach, reachOf, TooNearError } from './reach.js';
import type { Settings } from './settings.js';

export interface ProxyOptions {
  settings: Settings;
  /** `HOST[:PORT]` of the server that the user has named, wherever it is. Others may be no nearer than it. */
  named?: string | undefined;
  /** Bytes that all servers may send together. */
  maxBytes: number;
}

/** Headers of one connection (RFC 9110, 7.6.1), and those for the proxy. */
const OWN = ['connection', 'keep-alive', 'proxy-connection', 'proxy-authorization', 'te', 'trailer', 'upgrade'];
/** Milliseconds for a connection. */
const PATIENCE = 30_000;

export class ReachProxy implements Disposable {
  readonly #server: Server;
  readonly #options: ProxyOptions;
  readonly #sockets = new Set<Duplex>();
  /** How near the named server is. Undefined until there is a connection to it. */
  #near: Reach | undefined;
  #received = 0;
  #refusal: ImageError | undefined;

  private constructor(options: ProxyOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => this.#forward(request, response));
    this.#server.on('connect', (request, client, head) => this.#tunnel(request, client, head));
    this.#server.on('connection', (socket) => this.#hold(socket));
  }

  static async open(options: ProxyOptions): Promise<ReachProxy> {
    const proxy = new ReachProxy(options);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Why the last connection was refused or broken off. */
  get refusal(): ImageError | undefined {
    return this.#refusal;
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #hold(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #limit(host: string): Reach {
    const { named, settings } = this.#options;
    if (settings.of(host).internal) return 'host';
    return this.#near ?? (host === named ? 'host' : 'public');
  }

  #reached(host: string, { remoteAddress }: Socket): void {
    if (host !== this.#options.named || remoteAddress === undefined) return;
    this.#near = farther(this.#near ?? 'host', reachOf(remoteAddress));
  }

  #count(chunk: Buffer): void {
    this.#received += chunk.length;
    if (this.#received <= this.#options.maxBytes) return;
    this.#refusal = new ImageError('too-large', `servers send more than ${this.#options.maxBytes} bytes`);
    this[Symbol.dispose]();
  }

  /** CONNECT, for TLS. */
  #tunnel(request: IncomingMessage, client: Duplex, head: Buffer): void {
    const target = URL.canParse(`https://${request.url}`) ? new URL(`https://${request.url}`) : undefined;
    if (target === undefined) {
      client.end('HTTP/1.1 400 Bad Request\r\n\r\n');
      return;
    }
    const port = Number(target.port || 443);
    const { host } = target;
    const limit = this.#limit(host);
    try {
      checkHost(target.hostname, limit);
    } catch (error) {
      this.#refuse(client, error);
      return;
    }
    const server = connect({ host: bare(target.hostname), port, lookup: lookupWithin(limit) });
    server.setTimeout(PATIENCE, () => server.destroy());
    this.#hold(server);
    let isOpen = false;
    server.once('connect', () => {
      isOpen = true;
      server.setTimeout(0);
      this.#reached(host, server);
      server.on('data', (chunk: Buffer) => this.#count(chunk));
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      server.write(head);
      server.pipe(client).pipe(server);
    });
    server.on('error', (error) => isOpen || this.#refuse(client, error));
    server.on('close', () => client.destroy());
    client.on('close', () => server.destroy());
  }

  #forward(request: IncomingMessage, response: ServerResponse): void {
    const url = URL.canParse(request.url ?? '') ? new URL(request.url!) : undefined;
    if (url?.protocol !== 'http:') {
      response.writeHead(400).end();
      return;
    }
    const { host } = url;
    const limit = this.#limit(host);
    const fail = (error: unknown) => {
      this.#note(error);
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end();
    };
    try {
      checkHost(url.hostname, limit);
    } catch (error) {
      fail(error);
      return;
    }
    const asked = httpRequest(url, {
      method: request.method ?? 'GET',
      headers: withoutOwn(request.headers),
      lookup: lookupWithin(limit),
      agent: false,
    });
    asked.on('socket', (socket) => {
      this.#hold(socket);
      socket.setTimeout(PATIENCE, () => socket.connecting && socket.destroy());
      socket.once('connect', () => this.#reached(host, socket));
    });
    asked.on('response', (answer) => {
      try {
        response.writeHead(answer.statusCode ?? 502, withoutOwn(answer.headers));
      } catch (error) {
        // A stranger's answer, such as one of status 99, may be one that is not sent on.
        asked.destroy();
        fail(error);
        return;
      }
      answer.on('data', (chunk: Buffer) => this.#count(chunk));
      answer.on('error', () => response.destroy());
      answer.pipe(response);
    });
    asked.on('error', fail);
    response.on('close', () => asked.destroy());
    request.pipe(asked);
  }

  #refuse(client: Duplex, error: unknown): void {
    this.#note(error);
    client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
  }

  #note(error: unknown): void {
    if (!(error instanceof TooNearError)) return;
    this.#refusal ??= notPublic(error);
  }
}

function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

function withoutOwn(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !OWN.includes(name)));
}
