// How often callers may ask: the generic cell rate algorithm, a bucket that is one number for each.
import { formatAddress, isIPv4Address, parseAddress } from '../../addresses/ip.js';
import { ServiceError } from '../errors.js';
import { parseRate, type Rate, type Tenant } from '../records.js';

/** What those without a key may ask, for each address. */
export const STRANGERS: Rate = { count: 50, period: 1000 };
/** Callers that are known at one time. Those beyond share a bucket. */
const MAX_CALLERS = 10_000;
/** Milliseconds that sums of fractions may differ. */
const TOLERANCE = 0.001;

export class RateLimiter {
  /** When the bucket of each caller is empty, in milliseconds of the clock. */
  readonly #empty = new Map<string, number>();
  readonly #clock: () => number;

  /** @param clock milliseconds, which never go back */
  constructor(clock = () => performance.now()) {
    this.#clock = clock;
  }

  /**
   * Counts a request. One caller may ask `count` times at once, and as often in each further period.
   * @throws ServiceError `rate`, which counts nothing
   */
  take(caller: string, { count, period }: Rate): void {
    const now = this.#clock();
    const known = this.#empty.has(caller) || this.#hasRoom(now) ? caller : '';
    const empty = Math.max(this.#empty.get(known) ?? 0, now) + period / count;
    const wait = empty - now - period;
    if (wait > TOLERANCE) {
      const seconds = Math.ceil(wait / 1000);
      throw new ServiceError('rate', `${count} requests in ${period / 1000} s are allowed`, { retryAfter: seconds });
    }
    this.#empty.set(known, empty);
  }

  #hasRoom(now: number): boolean {
    if (this.#empty.size < MAX_CALLERS) return true;
    for (const [caller, empty] of this.#empty) if (empty <= now) this.#empty.delete(caller);
    return this.#empty.size < MAX_CALLERS;
  }
}

/** The requests of tenants, and of those who are none. */
export class RequestRates {
  readonly #tenants = new RateLimiter();
  readonly #strangers = new RateLimiter();
  readonly #ofStrangers: Rate;

  /** @param ofStrangers what one address may ask without a key */
  constructor(ofStrangers: Rate = STRANGERS) {
    this.#ofStrangers = ofStrangers;
  }

  /** @throws ServiceError `rate` */
  takeTenant({ name, rate }: Tenant): void {
    const allowed = parseRate(rate);
    // A rate that has changed counts at once: its bucket is another.
    if (allowed !== undefined) this.#tenants.take(`${name} ${rate}`, allowed);
  }

  /** @throws ServiceError `rate` */
  takeStranger(address: string | undefined): void {
    this.#strangers.take(networkOf(address), this.#ofStrangers);
  }
}

/** An address of IPv4, or a network of IPv6: who has one address of it has all. */
function networkOf(address: string | undefined): string {
  const [text = ''] = (address ?? '').split('%');
  if (text === '') return '';
  const words = parseAddress(text);
  return isIPv4Address(words) ? formatAddress(words) : formatAddress(Uint32Array.of(words[0]!, words[1]!, 0, 0));
}
