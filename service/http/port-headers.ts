// The headers that a request to a port of a sandbox and its answer keep. What is about a connection
// is not theirs, and bodies are framed anew: so both sides mean the same bytes.
import type { IncomingMessage } from 'node:http';
import { ServiceError } from '../errors.js';

/** Headers with the token of a sandbox's ports. The first is that of E2B's clients. */
export const TOKEN_HEADERS = ['e2b-traffic-access-token', 'x-access-token'] as const;

/** Headers of a connection, not of a request: RFC 9110, 7.6.1. */
const OF_CONNECTION = [
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade', 'http2-settings'],
];
/** Headers that the server writes by itself, or takes for itself. */
const OF_REQUEST = ['host', 'content-length', 'expect', ...TOKEN_HEADERS];
const NO_BODY: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE']);
const NO_CONTENT = 204;

type Message = Pick<IncomingMessage, 'headers' | 'rawHeaders'>;

/** Names and values in turn, without those of the connection and those that it names as its own. */
function passed({ headers, rawHeaders }: Message, dropped: readonly string[]): string[] {
  const named = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  const names = new Set([...OF_CONNECTION, ...dropped, ...named]);
  const kept: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    if (!names.has(name.toLowerCase())) kept.push(name, value);
  }
  return kept;
}

/** True if the request has a body, of known length or in chunks. */
export function hasBody({ headers }: Message): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * The headers of a request to a port.
 * @param upgrades true: it asks for a WebSocket
 * @throws ServiceError `bad-request` if its form is one that two servers may take for different ones
 */
export function requestHeaders(
  request: Message & Pick<IncomingMessage, 'method' | 'url'>,
  upgrades: boolean,
): string[] {
  const { headers, method, url } = request;
  const { host = '', 'transfer-encoding': encoding, 'content-length': length } = headers;
  if (!url?.startsWith('/') && url !== '*') throw new ServiceError('bad-request', 'a path is needed');
  if (encoding !== undefined && encoding.toLowerCase() !== 'chunked') {
    throw new ServiceError('bad-request', 'Transfer-Encoding: chunked is all that there is');
  }
  if (encoding !== undefined && length !== undefined) throw new ServiceError('bad-request', 'a body has one length');
  const kept = ['Host', host, ...passed(request, OF_REQUEST)];
  if (upgrades) {
    if (method !== 'GET' || hasBody(request)) throw new ServiceError('bad-request', 'a WebSocket is asked for by GET');
    return [...kept, 'Connection', 'Upgrade', 'Upgrade', 'websocket'];
  }
  kept.push('Connection', 'close');
  if (encoding !== undefined) kept.push('Transfer-Encoding', 'chunked');
  else if (length !== undefined || !NO_BODY.has(method)) kept.push('Content-Length', length ?? '0');
  return kept;
}

/**
 * The headers of an answer from a port. Its body goes on in chunks if it has no length.
 * @throws ServiceError `no-port`
 */
export function answerHeaders(answer: Message & Pick<IncomingMessage, 'statusCode'>): string[] {
  const encoding = answer.headers['transfer-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'chunked') {
    throw new ServiceError('no-port', 'the port answers with an unknown Transfer-Encoding');
  }
  return passed(answer, answer.statusCode === NO_CONTENT ? ['content-length'] : []);
}
