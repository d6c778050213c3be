// How much a disk may do in a second: token buckets. A request goes as long as there is no debt, however large it is, and
// then its cost is owed: the rate holds over any time, and no request is too large for its bucket.
import type { DiskRates } from '../../machine.js';

/** Seconds of saved-up rate that may go in one burst. */
const BURST = 0.1;

export interface TokenBucketState {
  tokens: number;
}

export class TokenBucket {
  readonly #perMillisecond: number;
  readonly #capacity: number;
  #tokens: number;
  #counted: number;

  /** `rate`: tokens in a second, above 0. `now`: milliseconds of a clock that never goes back. */
  constructor(rate: number, now: number) {
    this.#perMillisecond = rate / 1000;
    this.#capacity = rate * BURST;
    this.#tokens = this.#capacity;
    this.#counted = now;
  }

  /** Milliseconds until the next request may go; 0: at once. */
  delay(now: number): number {
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#counted) * this.#perMillisecond);
    this.#counted = now;
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMillisecond;
  }

  /** A request goes, at the time that `delay` was asked for. */
  take(cost: number): void {
    this.#tokens -= cost;
  }

  save(): TokenBucketState {
    return { tokens: this.#tokens };
  }

  restore(state: TokenBucketState): void {
    if (Number.isFinite(state.tokens)) this.#tokens = Math.min(this.#capacity, state.tokens);
  }
}

/** The buckets of a disk. */
export class RateLimit {
  readonly #clock: () => number;
  readonly #buckets: Partial<Record<keyof DiskRates, TokenBucket>> = {};

  constructor(rates: DiskRates, clock: () => number = () => performance.now()) {
    this.#clock = clock;
    for (const [name, rate] of Object.entries(rates) as [keyof DiskRates, number | undefined][]) {
      if (rate !== undefined) this.#buckets[name] = new TokenBucket(rate, clock());
    }
  }

  /** 0 when a request of so many bytes may go, whose cost is taken then; else the milliseconds until it may. */
  admit(isWrite: boolean, bytes: number): number {
    const now = this.#clock();
    const byBytes = isWrite ? this.#buckets.writeBytes : this.#buckets.readBytes;
    const byOperations = isWrite ? this.#buckets.writeOperations : this.#buckets.readOperations;
    const delay = Math.max(byBytes?.delay(now) ?? 0, byOperations?.delay(now) ?? 0);
    if (delay > 0) return delay;
    byBytes?.take(bytes);
    byOperations?.take(1);
    return 0;
  }

  save(): Record<string, TokenBucketState> {
    return Object.fromEntries(Object.entries(this.#buckets).map(([name, bucket]) => [name, bucket.save()]));
  }

  restore(state: Record<string, TokenBucketState>): void {
    for (const [name, bucket] of Object.entries(this.#buckets))
      if (state[name] !== undefined) bucket.restore(state[name]);
  }
}
