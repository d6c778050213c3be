// Failures that a retry may fix, and the waits between attempts.

import { setTimeout as sleep } from 'node:timers/promises';
import { ImageError } from '../errors.js';

/** Attempts before a failure is final. */
export const ATTEMPTS = 6;
/** Milliseconds of the longest wait, before the random factor. */
const MAX_DELAY = 20_000;
/** Milliseconds of the longest wait that a server may ask for. */
const MAX_RETRY_AFTER = 120_000;

/** A failure that a retry may fix: a broken connection, a busy server. */
export class TransientError extends Error {
  override readonly name = 'TransientError';

  /** @param retryAfter milliseconds that the server asks to wait, or null */
  constructor(
    message: string,
    readonly retryAfter: number | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Turns a transient failure into a final one: an `ImageError` `network`. */
export function asFinal(error: unknown): unknown {
  return error instanceof TransientError ? new ImageError('network', error.message, { cause: error }) : error;
}

/**
 * Waits before the next attempt. The wait is what the server asked for; otherwise it doubles each
 * time, with a random factor of 0.5 to 1.5.
 *
 * @param failures number of failures so far, at least 1
 * @param delay milliseconds of the first wait
 * @param signal once aborted, the wait fails
 * @throws ImageError `network` if the server asks for more than two minutes
 */
export async function backOff(
  error: TransientError,
  failures: number,
  delay: number,
  signal?: AbortSignal,
): Promise<void> {
  if (error.retryAfter === null) {
    const wait = Math.min(delay * 2 ** (failures - 1), MAX_DELAY);
    await sleep(wait * (0.5 + Math.random()), undefined, { signal });
  } else if (error.retryAfter <= MAX_RETRY_AFTER) {
    await sleep(error.retryAfter, undefined, { signal });
  } else {
    const seconds = Math.ceil(error.retryAfter / 1000);
    throw new ImageError('network', `${error.message}: it asks to retry after ${seconds} seconds`, { cause: error });
  }
}

/**
 * Repeats an attempt until it succeeds, fails permanently, or has failed `ATTEMPTS` times.
 *
 * @param delay milliseconds of the first wait
 * @param signal once aborted, the wait before an attempt fails
 * @throws the last error; a transient one becomes `ImageError` `network`
 */
export async function retrying<T>(delay: number, attempt: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransientError) || failures === ATTEMPTS) throw asFinal(error);
      await backOff(error, failures, delay, signal);
    }
  }
}
