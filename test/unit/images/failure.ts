import { expect } from 'vitest';

/** Matches an ImageError with this code and message. */
export function failure(code: string, message?: string | RegExp): object {
  return expect.objectContaining({
    name: 'ImageError',
    code,
    ...(message && { message: typeof message === 'string' ? message : expect.stringMatching(message) }),
  });
}

/** Matches the error of an exceeded limit, which names the limit. */
export function exceeded(limit: number): object {
  return expect.objectContaining({
    name: 'ImageError',
    code: 'too-large',
    message: expect.stringMatching(new RegExp(`(^|\\D)${limit}(\\D|$)`)),
  });
}
