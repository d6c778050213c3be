// The limit of requests: as many at once as a period has, as often in each further one, and a bound of
// what is remembered of callers.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ServiceError } from '../../../service/errors.js';
import { RateLimiter, RequestRates } from '../../../service/http/rate-limiter.js';
import { fuzzing } from '../../fixtures/fuzz.js';

let now = 0;
const limiter = () => {
  now = 1e6;
  return new RateLimiter(() => now);
};
/** Whether a request is allowed, and otherwise the seconds to wait. */
function ask(limits: RateLimiter, caller: string, rate: { count: number; period: number }): true | number {
  try {
    limits.take(caller, rate);
    return true;
  } catch (error) {
    if (!(error instanceof ServiceError) || error.code !== 'rate') throw error;
    return error.retryAfter ?? 0;
  }
}

test('a caller that waits as long as it was told is let in', () => {
  const rate = fc.record({
    count: fc.integer({ min: 1, max: 9999 }),
    period: fc.constantFrom(1000, 60_000, 3_600_000),
  });
  const pauses = fc.array(fc.nat({ max: 5000 }), { maxLength: 50 });
  fc.assert(
    fc.property(rate, pauses, (rate, pauses) => {
      const limits = limiter();
      const began = now;
      let allowed = 0;
      for (const pause of pauses) {
        now += pause;
        let result = ask(limits, 'a', rate);
        if (result !== true) {
          expect(result).toBeGreaterThan(0);
          now += result * 1000;
          result = ask(limits, 'a', rate);
        }
        expect(result).toBe(true);
        allowed++;
        expect(allowed).toBeLessThanOrEqual(Math.floor(rate.count * (1 + (now - began) / rate.period) + 0.001));
      }
    }),
    fuzzing(500),
  );
});

test('all of a period is allowed at once, and one more is not', () => {
  for (const count of [1, 3, 7, 10, 999, 9999]) {
    const limits = limiter();
    const rate = { count, period: 1000 };
    for (let n = 0; n < count; n++) expect(ask(limits, 'a', rate)).toBe(true);
    expect(ask(limits, 'a', rate)).toBe(1);
    expect(ask(limits, 'b', rate)).toBe(true);
    now += 1000;
    for (let n = 0; n < count; n++) expect(ask(limits, 'a', rate)).toBe(true);
  }
});

test('callers beyond a number share one bucket until others are forgotten', () => {
  const limits = limiter();
  const rate = { count: 1, period: 1000 };
  for (let n = 0; n < 10_000; n++) expect(ask(limits, `${n}`, rate)).toBe(true);
  expect([ask(limits, 'x', rate), ask(limits, 'y', rate), ask(limits, '5', rate)]).toEqual([true, 1, 1]);
  now += 1000;
  expect([ask(limits, 'x', rate), ask(limits, 'y', rate)]).toEqual([true, true]);
});

test('an address of IPv6 counts with its network, and one that is mapped as that of IPv4', () => {
  const rates = new RequestRates({ count: 1, period: 3_600_000 });
  const refused = (address: string) => expect(() => rates.takeStranger(address)).toThrow(/1 requests/);
  rates.takeStranger('2001:db8:0:1::1');
  refused('2001:db8:0:1:ffff::2');
  rates.takeStranger('2001:db8:0:2::1');
  rates.takeStranger('192.0.2.1');
  refused('::ffff:192.0.2.1');
  rates.takeStranger('192.0.2.2');
  rates.takeStranger('fe80::1%eth0');
  refused('fe80::2%eth1');
});
