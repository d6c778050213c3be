// The rates of a disk, as token buckets. A request of any size passes if the bucket is not in debt,
// and its cost is then subtracted. So the rate holds over time, and no request is too large for its
// bucket.
import type { DiskRates } from '../../machine.js';
import { type Check, nullable, real, record } from '../../saved-state.js';

/** Seconds of unused rate that one burst may use. */
const BURST = 0.1;

/** The most that one request owes: 32 MiB. */
const MAX_DEBT = 2 ** 25;

/** Tokens in each bucket; null: there is no such bucket. */
export type RateLimitState = Record<keyof DiskRates, number | null>;

const tokens = nullable(real(-MAX_DEBT, Number.MAX_SAFE_INTEGER));

export const checkRateLimitState: Check<RateLimitState> = record<RateLimitState>({
  readBytes: tokens,
  writeBytes: tokens,
  readOperations: tokens,
  writeOperations: tokens,
});

export class TokenBucket {
  readonly #perMillisecond: number;
  readonly #capacity: number;
  #tokens: number;
  #counted: number;

  /** @param rate tokens per second, above 0 @param now milliseconds of a monotonic clock */
  constructor(rate: number, now: number) {
    this.#perMillisecond = rate / 1000;
    this.#capacity = rate * BURST;
    this.#tokens = this.#capacity;
    this.#counted = now;
  }

  /** Returns the milliseconds until the next request may pass; 0: now. */
  delay(now: number): number {
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#counted) * this.#perMillisecond);
    this.#counted = now;
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMillisecond;
  }

  /** Takes the cost of a request that passes at the time of the last `delay`. */
  take(cost: number): void {
    this.#tokens -= cost;
  }

  /** Tokens in the bucket; below 0: a debt. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Sets the number of tokens, at most the bucket's capacity. */
  restore(tokens: number): void {
    this.#tokens = Math.min(this.#capacity, tokens);
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

  /** Takes the cost of a request and returns 0, or returns the milliseconds that it must wait. */
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

  save(): RateLimitState {
    const { readBytes, writeBytes, readOperations, writeOperations } = this.#buckets;
    return {
      readBytes: readBytes?.tokens ?? null,
      writeBytes: writeBytes?.tokens ?? null,
      readOperations: readOperations?.tokens ?? null,
      writeOperations: writeOperations?.tokens ?? null,
    };
  }

  /**
   * The disk may have other rates than the saved one. A bucket that only one of the two has is left
   * alone.
   */
  restore(state: RateLimitState): void {
    for (const [name, saved] of Object.entries(state) as [keyof RateLimitState, number | null][]) {
      if (saved !== null) this.#buckets[name]?.restore(saved);
    }
  }
}
