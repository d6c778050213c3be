// The addresses that the resolver gave the guest for the names of its rules, each for the lifetime
// of its answer. The table is bounded: the oldest address is dropped first.
import { parseAnswer, type Question } from './dns.js';

const MAX_ADDRESSES = 4096;
const MAX_QUERIES = 512;
/**
 * Bounds of an answer's lifetime in seconds. A program connects some time after its query, whatever
 * the answer says.
 */
const MIN_TIME = 60;
const MAX_TIME = 24 * 3600;

/** Returns true if the rule, `example.com` or `*.example.com`, matches the name. */
export function matchesName(rule: string, name: string): boolean {
  return rule.startsWith('*.') ? name.endsWith(rule.slice(1)) && name.length > rule.length - 1 : name === rule;
}

export class ResolvedNames {
  readonly #rules: readonly string[];
  /** Open queries by resolver, guest port and query ID, oldest first. */
  readonly #queries = new Map<string, Question>();
  /** By address: the time in seconds until which each rule's name has it. */
  readonly #addresses = new Map<string, Map<string, number>>();

  /** @param rules names in lower case; `*.` matches all names below */
  constructor(rules: readonly string[]) {
    this.#rules = rules;
  }

  /** Records a query of the guest from `port` to `resolver`. */
  asked(resolver: Uint32Array, port: number, question: Question): void {
    if (this.#queries.size === MAX_QUERIES) forgetFirst(this.#queries);
    this.#queries.set(queryKey(resolver, port, question.id), question);
  }

  /** Records an answer of the resolver to the guest's `port`. Ignores an answer without a query. */
  answered(resolver: Uint32Array, port: number, message: Uint8Array, now: number): void {
    if (message.length < 2) return;
    const key = queryKey(resolver, port, (message[0]! << 8) | message[1]!);
    const question = this.#queries.get(key);
    if (question === undefined) return;
    const addresses = parseAnswer(message, question);
    if (addresses.length === 0) return;
    this.#queries.delete(key);
    const rules = this.#rules.filter((rule) => matchesName(rule, question.name));
    for (const { bytes, timeToLive } of addresses) {
      const until = now + Math.min(Math.max(timeToLive, MIN_TIME), MAX_TIME);
      for (const rule of rules) this.#learn(bytes, rule, until);
    }
  }

  #learn(bytes: Uint8Array, rule: string, until: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const words =
      bytes.length === 4
        ? [0, 0, 0xffff, view.getUint32(0)]
        : [view.getUint32(0), view.getUint32(4), view.getUint32(8), view.getUint32(12)];
    const key = words.join('.');
    let rules = this.#addresses.get(key);
    if (rules === undefined) {
      if (this.#addresses.size === MAX_ADDRESSES) forgetFirst(this.#addresses);
      rules = new Map();
      this.#addresses.set(key, rules);
    }
    rules.set(rule, Math.max(rules.get(rule) ?? 0, until));
  }

  /** Returns true if an answer gave this address for the rule's name, and has not expired. */
  has(address: Uint32Array, rule: string, now: number): boolean {
    return (this.#addresses.get(address.join('.'))?.get(rule) ?? 0) >= now;
  }
}

function queryKey(resolver: Uint32Array, port: number, id: number): string {
  return `${resolver.join('.')} ${port} ${id}`;
}

function forgetFirst<V>(map: Map<string, V>): void {
  const first = map.keys().next();
  if (!first.done) map.delete(first.value);
}
