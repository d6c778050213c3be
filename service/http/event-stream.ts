// Server-sent events, as the HTML standard has them, and the places of a job's output as their IDs.
import type { HttpBindings } from '@hono/node-server';
import type { OutputPlace } from '../job.js';

/** What tells which readers are gone. */
export interface ReaderTimes {
  /** Milliseconds of silence until a comment is sent. */
  beat: number;
  /** Milliseconds in which a reader takes no byte until its connection ends. */
  stall: number;
}
export const READER_TIMES: ReaderTimes = { beat: 15_000, stall: 60_000 };

/** Ends the connection of a reader that takes nothing of what is there for so long. */
export function endStalled({ incoming: { socket }, outgoing }: HttpBindings, stall: number): void {
  outgoing.setTimeout(stall, () => {
    if (socket.writableLength > 0) socket.destroy();
  });
}

/** `RUN:OFFSET`, or OFFSET alone. */
export const PLACE = /^(?:(\d{1,6}):)?(\d{1,15})$/;

/** @param text matches `PLACE` */
export function parsePlace(text: string): OutputPlace {
  const [, run, offset = '0'] = PLACE.exec(text) ?? [];
  return { run: run === undefined ? undefined : Number(run), offset: Number(offset) };
}

/**
 * An event as it is sent.
 * @param name Default: the standard's `message`
 * @param data JSON in one line
 */
export function formatEvent({ run, offset }: Required<OutputPlace>, data: string, name?: string): string {
  return `id: ${run}:${offset}\n${name === undefined ? '' : `event: ${name}\n`}data: ${data}\n\n`;
}

/** A comment, which clients drop. */
export const COMMENT = ': \n\n';

/** The events, and `sign` whenever there is none for `beat` milliseconds. */
export async function* withBeats<T>(events: AsyncIterable<T>, beat: number, sign: T): AsyncGenerator<T> {
  const iterator = events[Symbol.asyncIterator]();
  let isAsking = false;
  let arrived: { result: IteratorResult<T> } | { error: unknown } | undefined;
  let isSilent = false;
  let wake = () => {};
  const ask = async () => {
    isAsking = true;
    try {
      arrived = { result: await iterator.next() };
    } catch (error) {
      arrived = { error };
    }
    wake();
  };
  const timer = setInterval(() => {
    isSilent = true;
    wake();
  }, beat);
  try {
    for (;;) {
      if (!isAsking) ask();
      if (arrived === undefined && !isSilent) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (arrived === undefined) yield sign;
      else if ('error' in arrived) throw arrived.error;
      else {
        const { result } = arrived;
        if (result.done) return;
        isAsking = false;
        arrived = undefined;
        yield result.value;
      }
      isSilent = false;
    }
  } finally {
    clearInterval(timer);
    // Not awaited: it may wait for an event that never comes. Nobody is there to learn of a failure.
    iterator.return?.().catch(() => {});
  }
}

/** As `withBeats`, from the first event on. */
export async function* withLaterBeats<T>(events: AsyncGenerator<T>, beat: number, sign: T): AsyncGenerator<T> {
  const first = await events.next();
  if (first.done) return;
  yield first.value;
  yield* withBeats(events, beat, sign);
}
