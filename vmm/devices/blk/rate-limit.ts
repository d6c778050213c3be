// The rates of a disk.
import type { DiskRates } from '../../machine.js';
import { Rate, type TokenBucket } from '../../rate.js';
import { type Check, nullable, real, record } from '../../saved-state.js';

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

export class RateLimit {
  readonly #clock: () => number;
  readonly #read: Rate;
  readonly #write: Rate;

  constructor(rates: DiskRates, clock: () => number = () => performance.now()) {
    const { readBytes, readOperations, writeBytes, writeOperations } = rates;
    this.#clock = clock;
    this.#read = new Rate({ bytes: readBytes, requests: readOperations }, clock());
    this.#write = new Rate({ bytes: writeBytes, requests: writeOperations }, clock());
  }

  /** Takes the cost of a request and returns 0, or returns the milliseconds that it must wait. */
  admit(isWrite: boolean, bytes: number): number {
    const rate = isWrite ? this.#write : this.#read;
    const delay = rate.delay(this.#clock());
    if (delay === 0) rate.take(bytes, 1);
    return delay;
  }

  save(): RateLimitState {
    const { readBytes, readOperations, writeBytes, writeOperations } = this.#buckets;
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

  get #buckets(): Record<keyof DiskRates, TokenBucket | undefined> {
    return {
      readBytes: this.#read.bytes,
      readOperations: this.#read.requests,
      writeBytes: this.#write.bytes,
      writeOperations: this.#write.requests,
    };
  }
}
