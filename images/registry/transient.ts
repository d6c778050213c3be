// Failures that may not happen again, and how long to wait before another attempt.

import { setTimeout as sleep } from 'node:timers/promises';
import { ImageError } from '../errors.js';

/** Attempts until a failure is taken for good. */
export const ATTEMPTS = 6;
const MAX_DELAY = 20_000;
/** Milliseconds a server may ask us to wait, and no more. */
const MAX_RETRY_AFTER = 120_000;

/** Something broke that may be whole next time: a connection, a server that is busy. */
export class TransientError extends Error {
  override readonly name = 'TransientError';

  /** @param retryAfter milliseconds that the server asks us to wait, or null */
  constructor(
    message: string,
    readonly retryAfter: number | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What a transient failure is called once it is taken for good. */
export function asFinal(error: unknown): unknown {
  return error instanceof TransientError ? new ImageError('network', error.message, { cause: error }) : error;
}

/**
 * Waits before the next attempt: as long as the server asked, or twice as long each time, more or less.
 *
 * @param failures so far, 1 or more
 * @param delay milliseconds of the first wait
 * @throws ImageError `network` if the server asks for too long a wait
 */
export async function backOff(error: TransientError, failures: number, delay: number): Promise<void> {
  if (error.retryAfter === null) {
    const wait = Math.min(delay * 2 ** (failures - 1), MAX_DELAY);
    await sleep(wait * (0.5 + Math.random()));
  } else if (error.retryAfter <= MAX_RETRY_AFTER) {
    await sleep(error.retryAfter);
  } else {
    const seconds = Math.ceil(error.retryAfter / 1000);
    throw new ImageError('network', `${error.message}: it asks to come back in ${seconds} seconds`, { cause: error });
  }
}

/**
 * Attempts something until it succeeds, fails for good, or has failed too often.
 *
 * @param delay milliseconds of the first wait
 * @throws what it fails with, `ImageError` `network` for what is transient
 */
export async function retrying<T>(delay: number, attempt: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransientError) || failures === ATTEMPTS) throw asFinal(error);
      await backOff(error, failures, delay);
    }
  }
}
