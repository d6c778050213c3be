// Token buckets.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TokenBucket } from '../../../vmm/rate.js';

describe('a token bucket', () => {
  test('admits a burst, then the next request after the debt is paid', () => {
    const bucket = new TokenBucket(1000, 0);
    expect(bucket.delay(0)).toBe(0);
    bucket.take(100);
    expect(bucket.delay(0)).toBe(0);
    bucket.take(500);
    expect(bucket.delay(0)).toBe(500);
    expect(bucket.delay(499)).toBe(1);
    expect(bucket.delay(500)).toBe(0);
  });

  test('accumulates at most one burst', () => {
    const bucket = new TokenBucket(1000, 0);
    expect(bucket.delay(1e6)).toBe(0);
    bucket.take(150);
    expect(bucket.delay(1e6)).toBe(50);
  });

  test('keeps the rate for any requests', () => {
    const request = fc.record({ pause: fc.nat({ max: 300 }), cost: fc.nat({ max: 5000 }) });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.array(request, { maxLength: 50 }), (rate, requests) => {
        const bucket = new TokenBucket(rate, 0);
        let now = 0;
        let before = 0;
        for (const { pause, cost } of requests) {
          now += pause;
          now += bucket.delay(now);
          expect(bucket.delay(now)).toBeLessThan(1e-6);
          // Apart from one burst, the earlier requests fit the elapsed time.
          expect(before).toBeLessThanOrEqual((rate * now) / 1000 + rate * 0.1 + 1e-3);
          bucket.take(cost);
          before += cost;
        }
      }),
    );
  });
});
