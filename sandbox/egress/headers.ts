// The headers of a request, on their way through the proxy: what stays on one connection is
// dropped, and tokens become values.
import { DEFAULT_HEADERS, type Placeholder } from '../spec/secrets.js';

/** As in `rawHeaders` of Node.js: names and values by turns. */
export type RawHeaders = readonly string[];

/** Of one connection (RFC 9110, 7.6.1), or made anew. */
const OWN = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect', 'host'],
]);

/** Pairs of names and values. */
export function* pairsOf(raw: RawHeaders): Generator<[name: string, value: string]> {
  for (let at = 0; at + 1 < raw.length; at += 2) yield [raw[at]!, raw[at + 1]!];
}

/** All values of a header. */
export function valuesOf(raw: RawHeaders, wanted: string): string[] {
  return [...pairsOf(raw)].filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value);
}

/** Without what is of the connection that they came by. */
export function passing(raw: RawHeaders): [name: string, value: string][] {
  const named = valuesOf(raw, 'connection').flatMap((value) =>
    value.split(',').map((name) => name.trim().toLowerCase()),
  );
  const dropped = new Set([...OWN, ...named]);
  return [...pairsOf(raw)].filter(([name]) => !dropped.has(name.toLowerCase()));
}

/**
 * Characters of a value from which answers are searched for it: a shorter one is anywhere by
 * chance.
 */
const SEARCHED = 8;

/** The values for the tokens of requests to one host. */
export class TokenValues {
  /** By header, in lower case, and by token. */
  readonly #values = new Map<string, Map<string, string>>();
  /** Tokens by value, of the longest value first: one may be a part of another. */
  readonly #tokens: readonly [value: string, token: string][];

  /** @param isSecure the requests come by TLS, and go on by it */
  constructor(placeholders: readonly Placeholder[], host: string, isSecure: boolean) {
    for (const { token, value, hosts, headers = DEFAULT_HEADERS, http = false } of placeholders) {
      if (!hosts.includes(host) || !(isSecure || http)) continue;
      for (const header of headers) {
        const name = header.toLowerCase();
        const known = this.#values.get(name) ?? new Map<string, string>();
        this.#values.set(name, known.set(token, value));
      }
    }
    const tokens = [...this.#values.values()].flatMap((known) => [...known].map(([token, value]) => [value, token]));
    this.#tokens = [...new Map(tokens as [string, string][])]
      .filter(([value]) => value.length >= SEARCHED)
      .sort(([one], [other]) => other.length - one.length);
  }

  /** False if no token has a value there. */
  get hasSome(): boolean {
    return this.#values.size > 0;
  }

  /** A header's value with the values of its tokens. A token is a word of its own. */
  replace(name: string, value: string): string {
    const values = this.#values.get(name.toLowerCase());
    if (values === undefined) return value;
    const put = (text: string) => text.replace(/[\w-]+/g, (word) => values.get(word) ?? word);
    const [, scheme, encoded] = /^(Basic +)([A-Za-z0-9+/]+={0,2})$/i.exec(value) ?? [];
    if (scheme === undefined || encoded === undefined) return put(value);
    const plain = Buffer.from(encoded, 'base64').toString('latin1');
    const replaced = put(plain);
    return replaced === plain ? value : scheme + Buffer.from(replaced, 'latin1').toString('base64');
  }
  /** A header's value of an answer, with the tokens of values that it repeats. */
  mask(value: string): string {
    return this.#tokens.reduce((text, [secret, token]) => text.replaceAll(secret, () => token), value);
  }
}
