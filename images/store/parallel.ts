// The blobs of a push are sent several at once.

/** Blobs sent at the same time. */
const PARALLEL = 3;

/**
 * Does the same with each item, several at once. The first failure stops the others.
 *
 * @throws the first failure; the controller's reason
 */
export async function inParallel<T>(
  items: readonly T[],
  stop: AbortController,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  async function work(): Promise<void> {
    for (let item = queue.shift(); item !== undefined && !stop.signal.aborted; item = queue.shift()) {
      try {
        await act(item);
      } catch (error) {
        stop.abort(error);
      }
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, work));
  stop.signal.throwIfAborted();
}
