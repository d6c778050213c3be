// Functions of the C library: what they return, and the errno of a call that failed.
import { expect, test } from 'vitest';
import { errno, libcFunction } from '../../../libc/index.js';

const EBADF = 9;

test('a function of the C library returns what it returns in C', () => {
  const getpid = libcFunction<[]>('int getpid()');
  expect(getpid()).toBe(process.pid);
  expect(getpid()).toBe(process.pid);
});

test('errno tells why a call failed', () => {
  const flock = libcFunction<[fd: number, operation: number]>('int flock(int fd, int operation)');
  expect(flock(-1, 1)).toBe(-1);
  expect(errno()).toBe(EBADF);
});
