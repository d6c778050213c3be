// Gets access tokens from a token server, with or without credentials (distribution,
// spec/auth/token.md and oauth.md).

import { messageOf } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { object, parseJson, string } from '../source/json.js';
import type { Challenge } from './challenge.js';
import { type Answer, type Connections, readBody } from './connections.js';
import type { Credentials } from './docker-config.js';
import { follow } from './redirects.js';
import { describeRefusal, failureOf } from './refusal.js';

const MAX_TOKEN_BYTES = 1 << 20;
/** Lifetime of a token that does not state one, in seconds. */
const DEFAULT_LIFE = 60;
const CLIENT = 'tsvm';

export interface Token {
  /** The value of an Authorization header. */
  authorization: string;
  /** Milliseconds since 1970. */
  expires: number;
}

/**
 * Requests a token from the server that a challenge names.
 *
 * @param challenged the answer with the challenge
 * @param scope the scope that is needed beside that of the challenge; '' only authenticates
 * @throws TransientError; ImageError `unauthorized`, `network`
 */
export async function fetchToken(
  connections: Connections,
  challenged: Answer,
  { parameters }: Challenge,
  scope: string,
  credentials: Credentials | null,
  signal?: AbortSignal | undefined,
): Promise<Token> {
  const realm = parameters.get('realm') ?? '';
  if (!URL.canParse(realm)) throw new ImageError('network', 'the registry names no token server');
  const url = new URL(realm);
  if (!connections.mayLead(challenged, url)) {
    throw new ImageError('network', `the token server ${url.host} is not trusted: its URL is not https`);
  }
  const { reach } = challenged;
  const query = new URLSearchParams();
  const service = parameters.get('service');
  if (service !== undefined) query.set('service', service);
  const scopes = joinScopes(parameters.get('scope') ?? '', scope);
  const headers: Record<string, string> = { accept: 'application/json' };
  let answer: Answer;
  if (credentials?.kind === 'identity-token') {
    query.set('grant_type', 'refresh_token');
    query.set('client_id', CLIENT);
    query.set('refresh_token', credentials.token);
    if (scopes.length > 0) query.set('scope', scopes.join(' '));
    headers['content-type'] = 'application/x-www-form-urlencoded';
    const body = Buffer.from(query.toString());
    answer = await connections.exchange({ method: 'POST', url, reach, headers, body, signal });
  } else {
    for (const word of scopes) query.append('scope', word);
    if (credentials?.kind === 'password') {
      query.set('account', credentials.username);
      headers.authorization = basic(credentials.username, credentials.password);
    }
    for (const [name, value] of query) url.searchParams.append(name, value);
    answer = await follow(connections, { method: 'GET', url, reach, headers, signal });
  }
  if (answer.status === 401 || answer.status === 403) {
    throw new ImageError('unauthorized', `${url.host} refuses a token${await describeRefusal(answer)}`);
  }
  if (answer.status !== 200) throw await failureOf(answer, 'a token');
  return parseToken(await readBody(answer, MAX_TOKEN_BYTES, 'the token'), Date.now());
}

/**
 * Joins scopes (distribution, spec/auth/scope.md): each resource once, with all its actions. A
 * challenge to a request that reads names no right to write, which the next request needs.
 *
 * @param lists scopes separated by spaces: `repository:foo/bar:pull,push`
 */
export function joinScopes(...lists: string[]): string[] {
  const actions = new Map<string, Set<string>>();
  const others = new Set<string>();
  for (const word of lists.flatMap((list) => list.split(' ')).filter((each) => each !== '')) {
    const [, resource, names] = /^([^:]+:.+):([^:]*)$/.exec(word) ?? [];
    if (resource === undefined || names === undefined) others.add(word);
    else actions.set(resource, new Set([...(actions.get(resource) ?? []), ...names.split(',')]));
  }
  return [...[...actions].map(([resource, names]) => `${resource}:${[...names].join(',')}`), ...others];
}

/**
 * Parses a token server's answer.
 *
 * @param now milliseconds since 1970
 * @throws ImageError `network` if it has no token that fits a header
 */
export function parseToken(bytes: Buffer, now: number): Token {
  try {
    const json = object(parseJson(bytes, 'the answer'), 'the answer');
    const token = string(json.token, 'the token') || string(json.access_token, 'the token');
    if (!/^[\x21-\x7e]+$/.test(token)) throw new ImageError('network', 'it has no token');
    const { expires_in: life } = json;
    const seconds = typeof life === 'number' && life > 0 && life < 1e9 ? life : DEFAULT_LIFE;
    return { authorization: `Bearer ${token}`, expires: now + seconds * 1000 };
  } catch (cause) {
    throw new ImageError('network', `cannot understand the token server: ${messageOf(cause)}`, { cause });
  }
}

/** The Authorization header of the Basic scheme (RFC 7617). */
export function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
