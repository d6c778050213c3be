// Rates, as token buckets. A request of any size passes if the bucket is not in debt, and its cost
// is then subtracted. So the rate holds over time, and no request is too large for its bucket.

/** Seconds of unused rate that one burst may use. */
const BURST = 0.1;

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

/** A rate of bytes, a rate of requests, or both. */
export class Rate {
  readonly bytes: TokenBucket | undefined;
  readonly requests: TokenBucket | undefined;

  /** @param now milliseconds of a monotonic clock */
  constructor({ bytes, requests }: { bytes: number | undefined; requests: number | undefined }, now: number) {
    this.bytes = bytes === undefined ? undefined : new TokenBucket(bytes, now);
    this.requests = requests === undefined ? undefined : new TokenBucket(requests, now);
  }

  /** Returns the milliseconds until the next request may pass; 0: now. */
  delay(now: number): number {
    return Math.max(this.bytes?.delay(now) ?? 0, this.requests?.delay(now) ?? 0);
  }

  /** Takes the cost of what passes at the time of the last `delay`. */
  take(bytes: number, requests: number): void {
    this.bytes?.take(bytes);
    this.requests?.take(requests);
  }
}
