// HTTP exchanges over connections that are kept alive. Server certificates are checked against the
// system's authorities and those of the registry's settings. Every wait has the timeout of the
// registry's settings.

import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import { GatheredBytes } from '../../bytes/index.js';
import { codeOf, messageOf } from '../../errors/index.js';
import { readUserFile } from '../../user-files/index.js';
import { ImageError } from '../errors.js';
import { parseContentLength } from './headers.js';
import { oneLine } from './one-line.js';
import { checkHost, farther, lookupWithin, type Reach, reachOf } from './reach.js';
import type { Settings } from './settings.js';
import { TransientError } from './transient.js';

const SYSTEM_CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
/** The longest body, in bytes, that is read only to keep its connection usable. */
const MAX_DISCARDED = 64 << 10;
/**
 * Bytes in a second that a server must send at least, over each time of the registry's timeout. A
 * byte now and then would keep a pull waiting for days.
 */
const MIN_RATE = 1024;
/** Simultaneous connections to one server. */
const MAX_SOCKETS = 8;

/** Bytes of a body that the server must take within the registry's timeout. */
const PIECE = 32 << 10;

export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  url: URL;
  /** How near the server may be. */
  reach: Reach;
  headers: Record<string, string>;
  body?: Uint8Array;
  /** How many times the registry's timeout the server has for its answer. Default: 1. */
  patience?: number;
  /** Once aborted, the exchange fails with its reason, and the body of its answer breaks. */
  signal?: AbortSignal | undefined;
}

export interface Answer {
  url: URL;
  /** How near the servers may be that the answer leads to. */
  reach: Reach;
  status: number;
  headers: IncomingHttpHeaders;
  /** The body: pass it to `bodyOf` or `discard`. */
  message: IncomingMessage;
  /** It is from another server than the one that was asked. */
  isElsewhere?: boolean;
  /** Milliseconds without a byte after which reading the body fails. */
  timeout: number;
}

/** The server does not speak TLS. */
export class NoTlsError extends Error {
  override readonly name = 'NoTlsError';
}

/** Returns true for this machine's own names and addresses: such traffic never leaves it. */
function isLoopback(hostname: string): boolean {
  return /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname);
}

/** All connections of one operation. Disposing of it closes them. */
export class Connections implements Disposable {
  /** By reach and host. A connection is used again for requests of the same reach only. */
  readonly #agents = new Map<string, HttpsAgent>();
  /**
   * By the path of the extra certificates; null is for the system's alone. Cached because reading
   * the system's takes some 60 ms.
   */
  readonly #contexts = new Map<string | null, SecureContext>();
  readonly #plain = new Map<Reach, HttpAgent>();
  readonly #requests = new Set<ClientRequest>();

  constructor(readonly settings: Settings) {}

  /** Returns true if plain HTTP to this registry is allowed. */
  mayBePlain(url: URL): boolean {
    return isLoopback(url.hostname) || this.settings.of(url.host).insecure;
  }

  /**
   * Returns true if the redirect or the challenge of an answer may lead to this URL, which
   * `exchange` checks further. A registry on this host may lead to others on this host without TLS.
   */
  mayLead(answer: Answer, url: URL): boolean {
    if (url.protocol !== 'http:') return url.protocol === 'https:';
    return this.settings.of(url.host).insecure || (answer.reach === 'host' && isLoopback(url.hostname));
  }

  /**
   * Sends a request and waits for the response's headers.
   *
   * @throws TransientError, NoTlsError, or ImageError `network` if the server cannot be reached; the
   *   reason of the signal
   */
  async exchange({ method, url, reach, headers, body, patience = 1, signal }: HttpRequest): Promise<Answer> {
    signal?.throwIfAborted();
    const { timeout, internal } = this.settings.of(url.host);
    const limit = internal ? 'host' : reach;
    checkHost(url.hostname, limit);
    const secure = url.protocol === 'https:';
    const options = {
      method,
      agent: secure ? this.#secureAgent(url.host, limit) : this.#plainAgent(limit),
      headers: {
        ...headers,
        'user-agent': 'tsvm',
        'accept-encoding': 'identity',
        ...(body !== undefined && { 'content-length': String(body.length) }),
      },
    };
    return new Promise((resolve, reject) => {
      const request = secure ? httpsRequest(url, options) : httpRequest(url, options);
      this.#requests.add(request);
      const wait = timeout * patience;
      const expire = () => request.destroy(silent(url, wait));
      let timer = setTimeout(expire, wait);
      let isAnswered = false;
      request.on('response', (message) => {
        isAnswered = true;
        clearTimeout(timer);
        // The reader of the body gets this error from its read.
        message.on('error', () => {});
        const { remoteAddress } = message.socket;
        const near = remoteAddress === undefined ? 'public' : farther(reachOf(remoteAddress), limit);
        const answer = { url, reach: near, status: message.statusCode ?? 0, headers: message.headers };
        resolve({ ...answer, message, timeout });
      });
      request.on('error', (error) => {
        isAnswered = true;
        clearTimeout(timer);
        reject(signal?.aborted ? signal.reason : describeFailure(error, url));
      });
      const abort = () => request.destroy();
      signal?.addEventListener('abort', abort);
      request.on('close', () => {
        signal?.removeEventListener('abort', abort);
        this.#requests.delete(request);
      });
      send(request, body, () => {
        if (isAnswered) return;
        clearTimeout(timer);
        timer = setTimeout(expire, wait);
      });
    });
  }

  [Symbol.dispose](): void {
    for (const request of this.#requests) request.destroy();
    for (const agent of [...this.#plain.values(), ...this.#agents.values()]) agent.destroy();
  }

  #plainAgent(reach: Reach): HttpAgent {
    const known = this.#plain.get(reach);
    if (known) return known;
    const agent = new HttpAgent({ keepAlive: true, maxSockets: MAX_SOCKETS, lookup: lookupWithin(reach) });
    this.#plain.set(reach, agent);
    return agent;
  }

  #secureAgent(host: string, reach: Reach): HttpsAgent {
    const key = `${reach} ${host}`;
    const known = this.#agents.get(key);
    if (known) return known;
    const { insecure, ca } = this.settings.of(host);
    const secureContext = this.#contexts.get(ca) ?? trusting(ca);
    this.#contexts.set(ca, secureContext);
    const agent = new HttpsAgent({
      keepAlive: true,
      maxSockets: MAX_SOCKETS,
      rejectUnauthorized: !insecure,
      secureContext,
      lookup: lookupWithin(reach),
    } as ConstructorParameters<typeof HttpsAgent>[0]);
    this.#agents.set(key, agent);
    return agent;
  }
}

/** Sends a body piece by piece. @param onTaken called when the system has taken a piece */
function send(request: ClientRequest, body: Uint8Array = new Uint8Array(), onTaken: () => void): void {
  let at = 0;
  const next = (error?: Error | null): void => {
    if (error) return;
    if (at > 0) onTaken();
    const piece = body.subarray(at, at + PIECE);
    at += piece.length;
    if (piece.length === 0) request.end();
    else request.write(piece, next);
  };
  next();
}

/**
 * Trusts the system's authorities, found as OpenSSL's programs find them, and those that the
 * registry's settings add.
 */
function trusting(ca: string | null): SecureContext {
  const system = process.env.SSL_CERT_FILE || SYSTEM_CERTIFICATES;
  const trusted: (string | Buffer)[] = existsSync(system) ? [readUserFile(system)] : [...rootCertificates];
  try {
    if (ca !== null) {
      const own = readUserFile(ca);
      // createSecureContext ignores text that is not a certificate; this throws.
      new X509Certificate(own);
      trusted.push(own);
    }
    return createSecureContext({ ca: trusted });
  } catch (cause) {
    const what = ca === null ? "the system's certificates" : `the certificates in ${ca}`;
    throw new ImageError('bad-settings', `cannot use ${what}: ${oneLine(messageOf(cause))}`, { cause });
  }
}

/** Errors for which a retry does not help. */
const LASTING = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EPERM']);

function describeFailure(error: unknown, url: URL): Error {
  if (error instanceof TransientError || error instanceof ImageError) return error;
  const code = codeOf(error) ?? '';
  // If a host has several addresses, each failed on its own. Report the last failure.
  const last: unknown = error instanceof AggregateError ? error.errors.at(-1) : undefined;
  const message = oneLine(messageOf(error) || (last instanceof Error && last.message) || code);
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_')) {
    return new NoTlsError(`${url.host} does not speak TLS: ${message}`, { cause: error });
  }
  if (LASTING.has(code)) return new ImageError('network', `cannot reach ${url.host}: ${message}`, { cause: error });
  if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS/.test(code)) {
    return new ImageError('network', `the certificate of ${url.host} is not trusted: ${message}`, { cause: error });
  }
  return new TransientError(`the connection to ${url.host} failed: ${message}`, null, { cause: error });
}

function silent(url: URL, timeout: number): TransientError {
  return new TransientError(`${url.host} sent nothing for ${timeout / 1000} seconds`);
}

function slow(url: URL, received: number, waited: number): TransientError {
  return new TransientError(`${url.host} sent only ${received} bytes in ${Math.round(waited / 1000)} seconds`);
}

/**
 * Yields the body of an answer.
 *
 * @throws TransientError if the connection breaks, stalls or is too slow
 */
export async function* bodyOf({ message, url, timeout }: Answer): AsyncGenerator<Buffer> {
  const chunks = message[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let timer: NodeJS.Timeout | undefined;
  let [waited, received] = [0, 0];
  try {
    for (;;) {
      // Time only the wait for the server, not the consumer's own work.
      const began = performance.now();
      timer = setTimeout(() => message.destroy(silent(url, timeout)), timeout);
      const { done, value } = await chunks.next();
      clearTimeout(timer);
      if (done) return;
      waited += performance.now() - began;
      received += value.length;
      if (waited >= timeout) {
        if (received < (MIN_RATE * waited) / 1000) throw slow(url, received, waited);
        [waited, received] = [0, 0];
      }
      yield value;
    }
  } catch (error) {
    throw describeFailure(error, url);
  } finally {
    clearTimeout(timer);
    if (!message.readableEnded) message.destroy();
  }
}

/**
 * Reads a whole body of at most `limit` bytes.
 *
 * @throws TransientError; ImageError `too-large`
 */
export async function readBody(answer: Answer, limit: number, what: string): Promise<Buffer> {
  const body = new GatheredBytes();
  for await (const chunk of bodyOf(answer)) {
    if (body.length + chunk.length > limit) throw new ImageError('too-large', `${what} is longer than ${limit} bytes`);
    body.add(chunk);
  }
  return body.bytes;
}

/**
 * Discards a body. If it is known to be short, it is read to its end, so that its connection can be
 * used again. Otherwise the connection is closed.
 */
export function discard({ message, headers }: Answer): void {
  const length = parseContentLength(headers['content-length']);
  if (length !== null && length <= MAX_DISCARDED) message.resume();
  else message.destroy();
}
