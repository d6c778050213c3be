import { expect } from 'vitest';

/** Matches the error that a store rejects with. */
export function failure(code: string, message?: string | RegExp): object {
  return expect.objectContaining({
    name: 'ImageError',
    code,
    ...(message && { message: typeof message === 'string' ? message : expect.stringMatching(message) }),
  });
}
