// Events for any number of readers that come and go. All get each event from their coming on, and the
// slowest sets the pace; without a reader, events are dropped.
import { PassThrough, type Readable } from 'node:stream';

export class Broadcast<Event extends object> {
  readonly #readers = new Set<PassThrough>();

  /** The events from now on. Destroy it to leave; it breaks off with the error of `fail`. */
  join(): Readable & AsyncIterable<Event> {
    const reader = new PassThrough({ objectMode: true, highWaterMark: 1 });
    // One who leaves with an error has said so to whoever waits for the stream's end.
    reader.on('error', () => {});
    reader.once('close', () => this.#readers.delete(reader));
    this.#readers.add(reader);
    return reader;
  }

  /** Resolves when each reader has room for another event, or is gone. */
  async send(event: Event): Promise<void> {
    await Promise.all([...this.#readers].map((reader) => hand(reader, event)));
  }

  end(): void {
    for (const reader of this.#readers) reader.end();
  }

  fail(error: Error): void {
    for (const reader of this.#readers) reader.destroy(error);
  }
}

/** Writes to a stream. Resolves when it has been taken over, or the stream is closed. */
export function hand(stream: PassThrough, chunk: unknown): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) return resolve();
    const done = () => {
      stream.off('close', done);
      resolve();
    };
    stream.once('close', done);
    stream.write(chunk, done);
  });
}
