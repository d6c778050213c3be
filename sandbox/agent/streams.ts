// Bytes between the caller's streams and the guest's, with back-pressure both ways.
import type { Readable, Writable } from 'node:stream';

/** Why a copy ended: the source's bytes were all written, or the sink takes no more. */
export type CopyEnd = { reason: 'end' } | { reason: 'broken'; error: NodeJS.ErrnoException };

export interface Copy {
  readonly done: Promise<CopyEnd>;
  /** Whether bytes were read that the sink has not taken yet. */
  readonly blocked: boolean;
  /** Counts the chunks that were read. */
  readonly chunks: number;
}

/**
 * Copies everything from `source` to `sink` and leaves `sink` open. A source that breaks has ended.
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
      // Called back when everything before it is with the kernel.
      sink.write('', () => finish({ reason: 'end' }));
    };
    const onError = (error: NodeJS.ErrnoException) => finish({ reason: 'broken', error });
    source.on('data', onData);
    source.once('end', onEnd);
    source.once('error', onEnd);
    source.once('close', onEnd);
    // It may have been paused to wait for this.
    source.resume();
    sink.on('drain', onDrain);
    // Stays: a sink that breaks later must not become an uncaught exception.
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
