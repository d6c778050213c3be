// Waiting that an AbortSignal or a timeout ends.
import { SandboxError } from './errors.js';

/** Resolves as `promise` does. Rejects with the reason of `signal` if that aborts first. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  promise.catch(() => {});
  signal.throwIfAborted();
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
  });
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** What ends a call before its result. */
export interface CallOptions {
  /** The call rejects with the reason of this signal. */
  signal?: AbortSignal | undefined;
  /** Milliseconds from the call. It rejects with a SandboxError `timeout`. */
  timeout?: number | undefined;
}

/** The end of a call by its caller's signal or its timeout, both from now on. */
export class CallLimit implements Disposable {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #onAbort = () => this.abort(this.#caller?.reason);

  constructor({ signal, timeout }: CallOptions) {
    this.#caller = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted) this.#onAbort();
    if (timeout === undefined) return;
    const late = () => this.abort(new SandboxError('timeout', `the call took longer than ${timeout} ms`));
    // setTimeout takes at most 2^31 - 1 ms. A longer delay would fire at once.
    this.#timer = setTimeout(late, Math.min(timeout, 2 ** 31 - 1));
  }

  /** Aborts when the call has to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener('abort', this.#onAbort);
  }
}

/** Runs `act` within a limit, and settles when that passes, whatever `act` still waits for. */
export async function limited<T>(options: CallOptions, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  using limit = new CallLimit(options);
  limit.signal.throwIfAborted();
  return await unlessAborted(act(limit.signal), limit.signal);
}
