// Proves what a reader of a container's events learns, and that a slow one costs no memory.
import { expect, test } from 'vitest';
import { tellEvents } from '../../../oci/keeper/events.js';
import type { ExitedFrame } from '../../../sandbox/agent/protocol.js';
import { defer } from '../../../sandbox/deferred.js';

/** A container that runs until `ended` is resolved, whose kernel kills a process before each look. */
function running() {
  const ended = defer<ExitedFrame | undefined>();
  let looks = 0;
  const statistics = async () => ({ data: { looks: ++looks }, oomKills: looks });
  return { source: { id: 'x', ended: ended.promise, statistics }, ended, looks: () => looks };
}

test('statistics and kills are told until the container ends', async () => {
  const { source, ended } = running();
  const told: object[] = [];
  const tell = async (event: object) => {
    if (told.push(event) === 2) ended.resolve(undefined);
  };
  await tellEvents(source, { interval: 1, signal: new AbortController().signal, tell });
  expect(told.slice(0, 2)).toEqual([
    { type: 'stats', id: 'x', data: { looks: 1 } },
    { type: 'oom', id: 'x' },
  ]);
});

const KILLED: ExitedFrame = { type: 'exited', process: 1, container: 1, signal: 9, oomKilled: true };

test.each([
  { kills: [0, 1], what: 'is told once, though a look has seen it' },
  { kills: [0, 0], what: 'is told, though no look has seen it' },
  { kills: [1, 1], what: 'is told, though there was one before anybody looked' },
  { kills: [0, 1, 1], what: 'is told beside an earlier one', times: 2 },
])('the kill of the process that ends the container $what', async ({ kills, times = 1 }) => {
  const ended = defer<ExitedFrame | undefined>();
  let looks = 0;
  const statistics = async () => {
    const oomKills = kills[looks++] ?? 0;
    if (looks === kills.length) ended.resolve(KILLED);
    return { data: {}, oomKills };
  };
  const told: object[] = [];
  const tell = async (event: object) => void told.push(event);
  const source = { id: 'x', ended: ended.promise, statistics };
  await tellEvents(source, { interval: 1, signal: new AbortController().signal, tell });
  expect(told.filter((event) => 'type' in event && event.type === 'oom')).toEqual(
    Array(times).fill({ type: 'oom', id: 'x' }),
  );
});

test('a reader that takes nothing is told nothing more', async () => {
  const { source, looks } = running();
  const taken = defer<void>();
  const gone = new AbortController();
  const telling = tellEvents(source, { interval: 1, signal: gone.signal, tell: () => taken.promise });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(looks()).toBe(1);
  gone.abort();
  taken.resolve();
  await telling;
});
