// Follows the output of a job, as server-sent events. A connection that breaks off is opened again, and
// the output goes on after the last line that arrived.
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { ClientError, RefusedError, type ServiceClient } from './client.js';

/** Milliseconds until a broken connection is opened again, at first and at most. */
const PAUSE = 250;
const MAX_PAUSE = 5000;
/** Milliseconds without an answer of the service until this gives up. */
const PATIENCE = 120_000;
/** Statuses of answers that may be others later. */
const LATER: readonly number[] = [429, 500, 502, 503, 504];

export interface Line {
  stream: 'stdout' | 'stderr';
  log: string;
}

export type OutputEvent = { name: 'line'; line: Line } | { name: 'gap'; bytes: number };

/**
 * The lines of a job's output until it has ended.
 * @param path of the job's events
 * @throws ClientError if the service refuses, or does not answer for long
 */
export async function* followOutput(client: ServiceClient, path: string): AsyncGenerator<OutputEvent> {
  let last: string | undefined;
  let pause = PAUSE;
  for (let heard = performance.now(); ; ) {
    let isOpen = false;
    try {
      const events = await openEvents(client, path, last);
      isOpen = true;
      for await (const { event, data, id } of events) {
        if (event === 'end') return;
        if (event === 'gap') yield { name: 'gap', bytes: (JSON.parse(data) as { bytes: number }).bytes };
        else if (event === undefined) yield { name: 'line', line: JSON.parse(data) as Line };
        last = id ?? last;
        pause = PAUSE;
      }
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      if (error instanceof RefusedError && !LATER.includes(error.status)) throw error;
      if (!isOpen && performance.now() - heard > PATIENCE) throw error;
    }
    // A job may say nothing for as long as it likes.
    if (isOpen) heard = performance.now();
    await sleep(pause);
    pause = Math.min(2 * pause, MAX_PAUSE);
  }
}

/** @throws ClientError */
async function openEvents(
  client: ServiceClient,
  path: string,
  last: string | undefined,
): Promise<AsyncGenerator<EventSourceMessage>> {
  const headers = { Accept: 'text/event-stream', ...(last === undefined ? {} : { 'Last-Event-ID': last }) };
  return readEvents(await client.open(path, { headers }));
}

/** @throws ClientError if the connection breaks off */
async function* readEvents(body: Readable): AsyncGenerator<EventSourceMessage> {
  const events: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => events.push(event) });
  const decoder = new TextDecoder();
  try {
    for await (const piece of body) {
      parser.feed(decoder.decode(piece as Buffer, { stream: true }));
      yield* events.splice(0);
    }
  } catch (cause) {
    throw new ClientError('the connection to the service broke off', { cause });
  }
}
