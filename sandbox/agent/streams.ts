// Copies bytes between the caller's streams and the guest's, with back-pressure in both directions.
import type { Readable, Writable } from 'node:stream';

/** The end of a copy: `end` if all bytes were written, `broken` if the sink failed. */
export type CopyEnd = { reason: 'end' } | { reason: 'broken'; error: NodeJS.ErrnoException };

export interface Copy {
  readonly done: Promise<CopyEnd>;
  /** True while the sink has not taken all bytes that were read. */
  readonly blocked: boolean;
  /** Number of chunks that were read. */
  readonly chunks: number;
}

/**
 * Copies everything from `source` to `sink` and leaves `sink` open. An error of the source counts
 * as its end.
 *
 * @param onChunk called before each chunk is written
 */
export function copy(source: Readable, sink: Writable, onChunk?: () => void): Copy {
  const state = { blocked: false, chunks: 0 };
  const done = new Promise<CopyEnd>((resolve) => {
    let ended = false;
    const finish = (end: CopyEnd) => {
      source.off('data', onData);
      sink.off('drain', onDrain);
      resolve(end);
    };
    const onData = (chunk: Buffer) => {
      state.chunks++;
      onChunk?.();
      if (!sink.write(chunk)) {
        state.blocked = true;
        source.pause();
      }
    };
    const onDrain = () => {
      state.blocked = false;
      source.resume();
    };
    const onEnd = () => {
      if (ended) return;
      ended = true;
      // The callback comes when the kernel has taken all bytes before it.
      sink.write('', () => finish({ reason: 'end' }));
    };
    const onError = (error: NodeJS.ErrnoException) => finish({ reason: 'broken', error });
    source.on('data', onData);
    source.once('end', onEnd);
    source.once('error', onEnd);
    source.once('close', onEnd);
    // One without bytes ends also while it is paused, and tells so once.
    if (source.readableEnded || source.destroyed) onEnd();
    // The source may be paused until it has a reader.
    source.resume();
    sink.on('drain', onDrain);
    // Never removed: a later error of the sink must not become an uncaught exception.
    sink.on('error', onError);
  });
  return {
    done,
    get blocked() {
      return state.blocked;
    },
    get chunks() {
      return state.chunks;
    },
  };
}
