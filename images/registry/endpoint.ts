// One server that speaks the OCI distribution protocol. Requests carry the authorization that it
// asks for. Redirects to another host do not carry it.

import { ImageError } from '../errors.js';
import { parseChallenges } from './challenge.js';
import { type Answer, type Connections, discard, NoTlsError } from './connections.js';
import type { Credentials } from './docker-config.js';
import { follow } from './redirects.js';
import { describeRefusal } from './refusal.js';
import { basic, fetchToken, type Token } from './tokens.js';

/** A token counts as expired this many milliseconds early. */
const TOKEN_MARGIN = 5_000;

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

  /**
   * Sends a GET request.
   *
   * @param path relative to the base, without a leading slash: `v2/library/debian/manifests/12`
   * @param scope the token scope that the request needs: `repository:library/debian:pull`
   * @throws TransientError; ImageError `unauthorized`, `network`, `bad-settings`
   */
  async get(path: string, scope: string, headers: Record<string, string> = {}): Promise<Answer> {
    const first = await this.#send(path, withAuthorization(headers, await this.#known(scope)));
    if (first.status !== 401 || first.url.origin !== this.#base.origin) return this.#allowed(first);
    discard(first);
    return this.#allowed(await this.#send(path, withAuthorization(headers, await this.#authorize(first, scope))));
  }

  async #allowed(answer: Answer): Promise<Answer> {
    if (answer.status !== 401) return answer;
    throw new ImageError('unauthorized', `${answer.url.host} refuses access${await describeRefusal(answer)}`);
  }

  async #send(path: string, headers: Record<string, string>): Promise<Answer> {
    try {
      return await follow(this.connections, this.#url(path), 'host', headers);
    } catch (error) {
      if (!(error instanceof NoTlsError)) throw error;
      if (this.#base.protocol !== 'https:' || !this.connections.mayBePlain(this.#base)) {
        throw new ImageError('network', error.message, { cause: error });
      }
      this.#base = new URL(this.#base.href.replace(/^https:/, 'http:'));
      return follow(this.connections, this.#url(path), 'host', headers);
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
  async #authorize(answer: Answer, scope: string): Promise<string> {
    const challenges = parseChallenges(answer.headers['www-authenticate'] ?? '');
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const credentials = await this.#findCredentials();
    if (bearer) {
      const token: Promise<Token> =
        credentials?.kind === 'registry-token'
          ? Promise.resolve({ authorization: `Bearer ${credentials.token}`, expires: Number.POSITIVE_INFINITY })
          : fetchToken(this.connections, answer, bearer, scope, credentials);
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
