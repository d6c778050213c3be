// MAC addresses: parsing.
import { expect, test } from 'vitest';
import { parseMac } from '../../../../../vmm/devices/net/mac-address.js';

test('a MAC address is six bytes', () => {
  expect([...parseMac('02:74:c6:13:00:FF')]).toEqual([2, 0x74, 0xc6, 0x13, 0, 255]);
  for (const text of ['', '02:74', '02:74:c6:13:00:0g', '02-74-c6-13-00-01', '02:74:c6:13:00:01:02']) {
    expect(() => parseMac(text)).toThrow(RangeError);
  }
});
