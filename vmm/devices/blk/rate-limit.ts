// How much a disk may do in a second: token buckets. A request goes as long as there is no debt, however large it is, and
// then its cost is owed: the rate holds over any time, and no request is too large for its bucket.
import type { DiskRates } from '../../machine.js';
import { type Check, nullable, real, record } from '../../saved-state.js';

/** Seconds of saved-up rate that may go in one burst. */
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

  /** Tokens in the bucket; below 0: a debt. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Goes on with so many tokens, of which no more than the bucket holds are kept. */
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

  save(): RateLimitState {
    const { readBytes, writeBytes, readOperations, writeOperations } = this.#buckets;
    return {
      readBytes: readBytes?.tokens ?? null,
      writeBytes: writeBytes?.tokens ?? null,
      readOperations: readOperations?.tokens ?? null,
      writeOperations: writeOperations?.tokens ?? null,
    };
  }

  /** On a disk whose rates may be others: a bucket that was not saved, or is not here, is left as it is. */
  restore(state: RateLimitState): void {
    for (const [name, saved] of Object.entries(state) as [keyof RateLimitState, number | null][]) {
      if (saved !== null) this.#buckets[name]?.restore(saved);
    }
  }
}
