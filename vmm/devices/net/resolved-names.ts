// The addresses that the resolver gave the guest for the names of its rules, each for the lifetime
// of its answer. The table is bounded: the oldest address is dropped first.
import { matchesName } from '../../outside/rules.js';
import { parseAnswer, type Question } from './dns.js';

const MAX_ADDRESSES = 4096;
/**
 * Bounds of an answer's lifetime in seconds. A program connects some time after its query, whatever
 * the answer says.
 */
const MIN_TIME = 60;
const MAX_TIME = 3600;

export class ResolvedNames {
  readonly #rules: readonly string[];
  /** By address: the time in seconds until which each rule's name has it. */
  readonly #addresses = new Map<string, Map<string, number>>();

  /** @param rules names in lower case; `*.` matches all names below */
  constructor(rules: readonly string[]) {
    this.#rules = rules;
  }

  /** Records the answer to a question of the guest. */
  answered(question: Question, message: Uint8Array, now: number): void {
    const rules = this.#rules.filter((rule) => matchesName(rule, question.name));
    for (const { bytes, timeToLive } of parseAnswer(message, question)) {
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

function forgetFirst<V>(map: Map<string, V>): void {
  const first = map.keys().next();
  if (!first.done) map.delete(first.value);
}
