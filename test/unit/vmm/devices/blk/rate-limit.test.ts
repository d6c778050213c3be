// The rates of a disk.
import { describe, expect, test } from 'vitest';
import { RateLimit } from '../../../../../vmm/devices/blk/rate-limit.js';

describe('the rates of a disk', () => {
  test('of reads and writes, of bytes and operations, are independent', () => {
    let now = 0;
    const limit = new RateLimit({ readBytes: 1000, writeOperations: 10 }, () => now);
    expect(limit.admit(false, 5000)).toBe(0);
    expect(limit.admit(false, 1)).toBe(4900);
    expect(limit.admit(true, 1e9)).toBe(0);
    expect(limit.admit(true, 1)).toBe(0);
    expect(limit.admit(true, 1)).toBe(100);
    now = 100;
    expect(limit.admit(true, 1)).toBe(0);
    expect(limit.admit(false, 1)).toBe(4800);
  });

  test('keep their debt when a saved limit is restored', () => {
    const limit = new RateLimit({ writeBytes: 1000 }, () => 0);
    limit.admit(true, 1100);
    const next = new RateLimit({ writeBytes: 1000 }, () => 777);
    next.restore(JSON.parse(JSON.stringify(limit.save())));
    expect(next.admit(true, 1)).toBe(1000);
  });
});
