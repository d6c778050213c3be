// What a record of an older build means to this one.
import { expect, test } from 'vitest';
import { stopTimeoutOf } from '../../../../sandbox/home/container-record.js';
import { containerConfig } from './containers.js';

test('a record says in milliseconds how long a container has to stop', () => {
  expect(stopTimeoutOf({ ...containerConfig(), stopTimeout: 2500 })).toBe(2500);
});

test('a record of an older build says it in seconds, in its spec', () => {
  expect(stopTimeoutOf(containerConfig({ stopTimeout: 3 }))).toBe(3000);
  expect(stopTimeoutOf(containerConfig())).toBe(10_000);
});
