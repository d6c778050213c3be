// Proves that the records of older builds are understood.
import { expect, test } from 'vitest';
import { stopTimeoutOf } from '../../../../sandbox/home/container-record.js';
import { containerConfig } from './containers.js';

test('a record has the stop timeout in milliseconds', () => {
  expect(stopTimeoutOf({ ...containerConfig(), stopTimeout: 2500 })).toBe(2500);
});

test('the spec in a record of an older build has the stop timeout in seconds', () => {
  expect(stopTimeoutOf(containerConfig({ stopTimeout: 3 }))).toBe(3000);
  expect(stopTimeoutOf(containerConfig())).toBe(10_000);
});
