// The proxy of placeholders: for the guest it is each named host, and for the host it is a client
// whose headers have the values of secrets. It takes nothing on trust from the guest: one request
// is parsed, its framing made anew, and sent alone on a connection of its own.
import { once } from 'node:events';
import * as http from 'node:http';
import * as https from 'node:https';
import { createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { type ConnectionOptions, createSecureContext, rootCertificates, type SecureContext, TLSSocket } from 'node:tls';
import { AddressGuard } from '../../addresses/address-guard.js';
import type { Audit, Placeholder, Upstream } from '../spec/secrets.js';
import { Admission, type Announced } from './admission.js';
import { AuditedRequest, AuditLog } from './audit.js';
import { Authority } from './authority.js';
import { passing, TokenValues, valuesOf } from './headers.js';

export const HTTPS_PORT = 443;
export const HTTP_PORT = 80;
/** Connections of the guest. Further ones are closed. */
const MAX_CONNECTIONS = 256;
/** Bytes, of what comes and of what goes on: values may be much longer than tokens. */
const MAX_HEADERS = 64 * 1024;
/** Milliseconds without a byte, of both sides: answers of models begin late. */
const IDLE_TIMEOUT = 600_000;
/** Milliseconds of a TLS handshake of the guest, and until there is a connection with a host. */
export const HANDSHAKE_TIMEOUT = 30_000;
/** Milliseconds between requests of one connection. */
const KEPT = 60_000;

export interface ProxyOptions {
  placeholders: readonly Placeholder[];
  upstream?: Upstream | undefined;
  audit?: Audit | undefined;
  /** The hosts' ports instead of 443 and 80. */
  ports?: Readonly<Record<number, number>> | undefined;
}

/** What a container trusts, in PEM. */
export interface Certificates {
  /** The proxy's own CA. */
  own: string;
  /** With the roots of Node.js, for programs that trust nothing else then. */
  bundle: string;
}

export class EgressProxy implements Disposable {
  readonly certificates: Certificates;
  readonly #placeholders: readonly Placeholder[];
  readonly #ports: Readonly<Record<number, number>>;
  /** What hosts prove themselves by. */
  readonly #roots: SecureContext;
  readonly #guard: AddressGuard;
  readonly #admission: Admission;
  readonly #audit: AuditLog;
  readonly #listener: Server;
  readonly #servers: ReadonlyMap<number, http.Server>;
  readonly #sockets = new Set<Socket>();
  /** The last answer on each connection of the guest. */
  readonly #last = new WeakMap<Socket, http.ServerResponse>();

  /** @throws RangeError for what is no range of addresses */
  constructor({ placeholders, upstream = {}, audit, ports = {} }: ProxyOptions) {
    const authority = new Authority(placeholders.flatMap(({ hosts }) => hosts));
    this.certificates = {
      own: authority.certificate,
      bundle: `${[authority.certificate.trim(), ...rootCertificates].join('\n')}\n`,
    };
    this.#placeholders = placeholders;
    this.#ports = ports;
    const ca = [...rootCertificates, ...(upstream.ca === undefined ? [] : [upstream.ca])];
    this.#roots = createSecureContext({ ca, minVersion: 'TLSv1.2' });
    this.#guard = new AddressGuard(upstream);
    this.#audit = new AuditLog(audit);
    const limits = {
      ...{ maxHeaderSize: MAX_HEADERS, insecureHTTPParser: false, requireHostHeader: true },
      keepAliveTimeout: KEPT,
    };
    const secure = https.createServer({
      ...limits,
      ALPNProtocols: ['http/1.1'],
      minVersion: 'TLSv1.2',
      handshakeTimeout: HANDSHAKE_TIMEOUT,
      // A client that names no host finds no certificate. So does one that names another.
      SNICallback: (name, done) => done(null, authority.contextOf(name.toLowerCase())),
    });
    this.#servers = new Map<number, http.Server>([
      [HTTPS_PORT, secure],
      [HTTP_PORT, http.createServer(limits)],
    ]);
    for (const [port, server] of this.#servers) {
      server.maxHeadersCount = 0;
      server.setTimeout(IDLE_TIMEOUT);
      server.on('request', (request, response) => void this.#serve(port, request, response));
    }
    this.#admission = new Admission((socket, to) => {
      const server = this.#sockets.size < MAX_CONNECTIONS ? this.#servers.get(to) : undefined;
      if (server === undefined) {
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      server.emit('connection', socket);
      socket.resume();
    });
    this.#listener = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => this.#admission.arrive(socket));
  }

  /** Resolves to its port of the loopback interface. */
  async listen(): Promise<number> {
    this.#listener.listen(0, '127.0.0.1');
    await once(this.#listener, 'listening');
    const address = this.#listener.address();
    if (address === null || typeof address === 'string') throw new TypeError('a listener of TCP has a port');
    return address.port;
  }

  /** Lets a connection in, which may have come already. */
  announce(announced: Announced): void {
    this.#admission.announce(announced);
  }

  /** Never rejects. */
  async #serve(port: number, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    response.on('error', () => {});
    request.on('error', () => {});
    // Requests that come before the last one is answered would have a connection outside each.
    const isEarly = this.#last.get(request.socket)?.writableEnded === false;
    this.#last.set(request.socket, response);
    if (isEarly) {
      request.socket.destroy();
      return;
    }
    const audited = new AuditedRequest(this.#audit, request.method);
    response.once('close', () => audited.answered(response.headersSent ? response.statusCode : undefined));
    try {
      const isSecure = port === HTTPS_PORT;
      const host = this.#check(request, isSecure);
      if (typeof host !== 'string') return refuse(audited, response, ...host);
      audited.host = host;
      const values = new TokenValues(this.#placeholders, host, isSecure);
      if (!values.hasSome) return refuse(audited, response, 421, 'no placeholder is for this host without TLS');
      let address: string;
      try {
        address = await this.#guard.resolve(host);
      } catch {
        return refuse(audited, response, 502, `${host} has no address that may be reached`);
      }
      if (response.destroyed) return;
      this.#forward(port, { host, address, values, audited }, request, response);
    } catch {
      // What Node.js does not send, such as a path that has characters of no URL.
      refuse(audited, response, 400, 'the request cannot be sent on');
    }
  }

  /** The host that the request is for, by all that names it; else the answer. */
  #check(
    { method, url = '', headers, rawHeaders, socket }: http.IncomingMessage,
    isSecure: boolean,
  ): string | [status: number, why: string] {
    const [named = '', ...others] = valuesOf(rawHeaders, 'host');
    if (others.length > 0) return [400, 'one Host header is needed'];
    const host = named.toLowerCase().replace(isSecure ? /:443$/ : /:80$/, '');
    const isNamed = this.#placeholders.some(({ hosts }) => hosts.includes(host));
    const proven = socket instanceof TLSSocket ? socket.servername : undefined;
    if (!isNamed || (isSecure && String(proven).toLowerCase() !== host)) {
      return [421, 'the request is for another host than the connection'];
    }
    // TRACE has the host answer with the headers. Nothing else than HTTP passes.
    if (method === 'TRACE' || method === 'CONNECT') return [405, `${method} does not pass`];
    if (valuesOf(rawHeaders, 'upgrade').length > 0) return [501, 'no other protocol passes'];
    if (!url.startsWith('/')) return [400, 'a path is needed'];
    if ((headers['transfer-encoding'] ?? 'chunked') !== 'chunked')
      return [501, 'no other encoding passes than chunked'];
    return host;
  }

  #forward(
    port: number,
    { host, address, values, audited }: { host: string; address: string; values: TokenValues; audited: AuditedRequest },
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): void {
    const { request: send } = port === HTTPS_PORT ? https : http;
    const headers = [['Host', host], ...passing(request.rawHeaders), ...framingOf(request), ['Connection', 'close']];
    const replaced = headers.flatMap(([name = '', value = '']) => [name, values.replace(name, value)]);
    if (replaced.reduce((sum, text) => sum + text.length, 0) > MAX_HEADERS) {
      refuse(audited, response, 431, 'the headers are too long with their values');
      return;
    }
    audited.values = headers.filter(([name = '', value = '']) => values.replace(name, value) !== value).length;
    const to: ConnectionOptions = { secureContext: this.#roots, servername: host, rejectUnauthorized: true };
    const outgoing = send({
      ...{ ...to, host: address, port: this.#ports[port] ?? port, agent: false },
      ...{ method: request.method, path: request.url, maxHeaderSize: MAX_HEADERS },
      headers: replaced,
    });
    const late = setTimeout(() => outgoing.destroy(), HANDSHAKE_TIMEOUT);
    outgoing.once('socket', (socket) =>
      socket.once(port === HTTPS_PORT ? 'secureConnect' : 'connect', () => clearTimeout(late)),
    );
    outgoing.once('close', () => clearTimeout(late));
    outgoing.setTimeout(IDLE_TIMEOUT, () => outgoing.destroy());
    outgoing.once('response', (answer) => {
      try {
        response.sendDate = false;
        const masked = passing(answer.rawHeaders).map(([name, value]) => [name, values.mask(value)]);
        response.writeHead(answer.statusCode ?? 502, [...masked, ...lengthOf(answer)].flat());
        audited.answered(response.statusCode);
        pipeline(answer, response, () => {});
      } catch {
        outgoing.destroy();
      }
    });
    outgoing.on('error', () => {});
    // It ends without an error too: where the host changes the protocol.
    outgoing.once('close', () => {
      refuse(audited, response, 502, `${host} does not answer`);
      // A host may answer before it has read all.
      request.resume();
    });
    response.once('close', () => outgoing.destroy());
    request.pipe(outgoing);
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    this.#admission[Symbol.dispose]();
    this.#audit[Symbol.dispose]();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** How the body is framed: as it was, by what the parser has understood. */
function framingOf({ method, headers }: http.IncomingMessage): [string, string][] {
  if (headers['transfer-encoding'] !== undefined) return [['Transfer-Encoding', 'chunked']];
  const length = headers['content-length'] ?? (method === 'GET' || method === 'HEAD' ? undefined : '0');
  return length === undefined ? [] : [['Content-Length', length]];
}

/** Without one, the answer goes in chunks, or to the end of the connection. */
function lengthOf({ headers }: http.IncomingMessage): [string, string][] {
  const length = headers['transfer-encoding'] === undefined ? headers['content-length'] : undefined;
  return length === undefined ? [] : [['Content-Length', length]];
}

/** Answers in the host's place, and ends the connection. Does nothing if there is an answer. */
function refuse(audited: AuditedRequest, response: http.ServerResponse, status: number, why: string): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'Content-Type': 'text/plain', Connection: 'close' });
  audited.answered(status);
  response.end(`tsvm: ${why}\n`);
}
