import { expect } from 'vitest';

/** Matches an ImageError with this code and message. */
export function failure(code: string, message?: string | RegExp): object {
  return expect.objectContaining({
    name: 'ImageError',
    code,
    ...(message && { message: typeof message === 'string' ? message : expect.stringMatching(message) }),
  });
}
