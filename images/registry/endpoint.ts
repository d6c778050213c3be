// One server that speaks the OCI distribution protocol. Requests carry the authorization that it
// asks for. Redirects to another host do not carry it.

import { ImageError } from '../errors.js';
import { parseChallenges } from './challenge.js';
import { type Answer, type Connections, discard, type HttpRequest, NoTlsError } from './connections.js';
import type { Credentials } from './docker-config.js';
import type { Reach } from './reach.js';
import { follow, leadOf } from './redirects.js';
import { describeRefusal } from './refusal.js';
import { basic, fetchToken, type Token } from './tokens.js';

/** A token counts as expired this many milliseconds early. */
const TOKEN_MARGIN = 5_000;

/** Where an answer says that an upload goes on. Made by `Endpoint.lead`. */
export interface Lead {
  url: URL;
  /** How near its server may be. */
  reach: Reach;
  /** It is, or was named by, another server than the registry: it gets no credentials. */
  isElsewhere: boolean;
}

/** A request to an endpoint. */
export interface EndpointRequest extends Pick<HttpRequest, 'method' | 'body' | 'patience' | 'signal'> {
  /**
   * Relative to the base, without a leading slash: `v2/library/debian/manifests/12`. Or where an
   * earlier answer led.
   */
  target: string | Lead;
  /** The token scope that the request needs: `repository:library/debian:pull`. */
  scope: string;
  headers?: Record<string, string>;
}

export class Endpoint {
  #base: URL;
  /** By scope. Promises, so that parallel requests share one token. */
  readonly #tokens = new Map<string, Promise<Token>>();
  #basic: string | null = null;
  #credentials: Promise<Credentials | null> | null = null;

  /**
   * @param host the key of its credentials
   * @param base the URL that contains `/v2/`
   * @param find finds the credentials. Called once, when the server first asks for them.
   */
  constructor(
    readonly host: string,
    base: URL,
    private readonly connections: Connections,
    private readonly find: (host: string) => Promise<Credentials | null>,
  ) {
    this.#base = base;
  }

  /** Sends a GET request: see `send`. */
  get(
    path: string,
    scope: string,
    headers: Record<string, string> = {},
    signal?: AbortSignal | undefined,
  ): Promise<Answer> {
    return this.send({ method: 'GET', target: path, scope, headers, signal });
  }

  /**
   * Sends a request, with the authorization that the server asks for.
   *
   * @throws TransientError; ImageError `unauthorized`, `network`, `bad-settings`; the reason of the signal
   */
  async send(request: EndpointRequest): Promise<Answer> {
    const { target, scope, headers = {}, signal } = request;
    if (typeof target !== 'string' && target.isElsewhere) {
      return this.#allowed({ ...(await this.#send(request, headers)), isElsewhere: true });
    }
    const first = await this.#send(request, withAuthorization(headers, await this.#known(scope)));
    if (first.status !== 401 || first.url.origin !== this.#base.origin) return this.#allowed(first);
    discard(first);
    const authorization = await this.#authorize(first, scope, signal);
    return this.#allowed(await this.#send(request, withAuthorization(headers, authorization)));
  }

  /**
   * Reads the Location header of an answer to a request that is not redirected.
   *
   * @throws ImageError `network` if there is none, or if it may not be followed
   */
  lead(answer: Answer): Lead {
    const url = leadOf(answer);
    if (url === null) throw new ImageError('network', `${answer.url.host} does not say where an upload goes`);
    if (url.origin !== answer.url.origin && !this.connections.mayLead(answer, url)) {
      throw new ImageError('network', `${answer.url.host} leads an upload to ${url.host} without TLS`);
    }
    const isElsewhere = answer.isElsewhere === true || url.origin !== this.#base.origin;
    return { url, reach: isElsewhere ? answer.reach : 'host', isElsewhere };
  }

  async #allowed(answer: Answer): Promise<Answer> {
    if (answer.status !== 401) return answer;
    throw new ImageError('unauthorized', `${answer.url.host} refuses access${await describeRefusal(answer)}`);
  }

  async #send(request: EndpointRequest, headers: Record<string, string>): Promise<Answer> {
    const { method, target, body, patience, signal } = request;
    const rest = { method, headers, signal, ...(body && { body }), ...(patience && { patience }) };
    const toBase = (path: string) => follow(this.connections, { ...rest, url: this.#url(path), reach: 'host' });
    // Several requests at once may each find out that the server does not speak TLS.
    const asked = this.#base;
    try {
      if (typeof target === 'string') return await toBase(target);
      return await follow(this.connections, { ...rest, url: target.url, reach: target.reach });
    } catch (error) {
      if (!(error instanceof NoTlsError)) throw error;
      if (typeof target !== 'string' || asked.protocol !== 'https:' || !this.connections.mayBePlain(asked)) {
        throw new ImageError('network', error.message, { cause: error });
      }
      this.#base = new URL(asked.href.replace(/^https:/, 'http:'));
      return toBase(target);
    }
  }

  #url(path: string): URL {
    return new URL(path, this.#base.href.replace(/\/*$/, '/'));
  }

  /** The Authorization header of an earlier request of this scope, or null. */
  async #known(scope: string): Promise<string | null> {
    if (this.#basic !== null) return this.#basic;
    const token = await this.#tokens.get(scope);
    return token && token.expires - TOKEN_MARGIN > Date.now() ? token.authorization : null;
  }

  /** Makes the Authorization header that the challenges of an answer ask for. */
  async #authorize(answer: Answer, scope: string, signal: AbortSignal | undefined): Promise<string> {
    const challenges = parseChallenges(answer.headers['www-authenticate'] ?? '');
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const credentials = await this.#findCredentials();
    if (bearer) {
      const token: Promise<Token> =
        credentials?.kind === 'registry-token'
          ? Promise.resolve({ authorization: `Bearer ${credentials.token}`, expires: Number.POSITIVE_INFINITY })
          : fetchToken(this.connections, answer, bearer, scope, credentials, signal);
      this.#tokens.set(scope, token);
      token.catch(() => this.#tokens.delete(scope));
      return (await token).authorization;
    }
    if (!challenges.some(({ scheme }) => scheme === 'basic')) {
      throw new ImageError('unauthorized', `${this.host} asks for an authentication scheme that tsvm lacks`);
    }
    if (credentials?.kind !== 'password') {
      throw new ImageError('unauthorized', `${this.host} asks for a user name and a password: tsvm login ${this.host}`);
    }
    this.#basic = basic(credentials.username, credentials.password);
    return this.#basic;
  }

  #findCredentials(): Promise<Credentials | null> {
    this.#credentials ??= this.find(this.host);
    return this.#credentials;
  }
}

function withAuthorization(headers: Record<string, string>, authorization: string | null): Record<string, string> {
  return authorization === null ? headers : { ...headers, authorization };
}
