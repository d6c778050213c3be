// --device has Docker's form.
import { expect, test } from 'vitest';
import { parseDevice } from '../../../../cli/options/device.js';

test.each([
  ['/dev/fuse', { path: '/dev/fuse' }],
  ['/dev/fuse:/dev/other', { path: '/dev/fuse', target: '/dev/other' }],
  ['/dev/fuse:rw', { path: '/dev/fuse', access: 'rw' }],
  ['/dev/fuse:/dev/other:mrw', { path: '/dev/fuse', target: '/dev/other', access: 'mrw' }],
])('%s is understood', (text, device) => {
  expect(parseDevice(text, '--device')).toEqual(device);
});

test.each([
  '',
  ':',
  'fuse',
  '/dev/fuse:',
  '/dev/fuse:rx',
  '/dev/fuse:rr',
  '/dev/fuse:other',
  '/dev/fuse::rw',
  '/dev/fuse:/dev/other:',
  '/dev/fuse:/dev/other:x',
  '/dev/fuse:rw:rw',
  '/dev/fuse:/dev/other:rw:rw',
  'vendor.com/class=device',
])('%j is refused', (text) => {
  expect(() => parseDevice(text, '--device')).toThrow(`invalid argument '${text}' for --device`);
});
