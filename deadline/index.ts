// The end of what takes too long.

/**
 * A signal that is aborted as the first of `signals` is, or with a DOMException `TimeoutError` after so
 * many milliseconds, of which a part counts as a whole one. A signal of AbortSignal.any refers weakly
 * to those that it is made of: Node.js collects one of AbortSignal.timeout with its timer, and the
 * time never ends.
 */
export function within(milliseconds: number, ...signals: AbortSignal[]): AbortSignal {
  const timeout = AbortSignal.timeout(Math.ceil(milliseconds));
  // Node.js keeps a timeout that has a listener.
  timeout.addEventListener('abort', () => {}, { once: true });
  return AbortSignal.any([timeout, ...signals]);
}
