// The events of a container, for as long as it runs and somebody listens: statistics at an interval, and that
// the guest's kernel has killed a process for lack of memory.
import type { ExitedFrame } from '../../sandbox/agent/protocol.js';
import type { Statistics } from './statistics.js';

/** The most milliseconds between a kill and its event. */
const OOM_INTERVAL = 1000;
const SIGKILL = 9;

export interface EventSource {
  /** The engine's name of the container. */
  id: string;
  /** Resolves when the container has ended; undefined: its machine was lost. */
  ended: Promise<ExitedFrame | undefined>;
  /** Undefined while the container is paused. */
  statistics(): Promise<Statistics | undefined>;
}

/**
 * Tells events until the container has ended, or nobody listens. A reader that is slow gets fewer.
 * @param options.interval milliseconds between statistics
 * @param options.tell resolves when the reader has taken the event, or is gone
 * @throws the error of `statistics` of a container that runs
 */
export async function tellEvents(
  { id, ended, statistics }: EventSource,
  { interval, signal, tell }: { interval: number; signal: AbortSignal; tell: (event: object) => Promise<void> },
): Promise<void> {
  let end: { frame: ExitedFrame | undefined } | undefined;
  const over = new AbortController();
  ended.then((frame) => {
    end = { frame };
    over.abort();
  });
  signal.addEventListener('abort', () => over.abort());
  let kills: number | undefined;
  let hasTold = false;
  // The last look has told a kill: perhaps that of the process whose end is told next.
  let isLast = false;
  let due = Date.now();
  const oom = async () => {
    hasTold = true;
    await tell({ type: 'oom', id });
  };
  while (end === undefined && !signal.aborted) {
    const now = await statistics().catch((error) => {
      if (end === undefined) throw error;
      return undefined;
    });
    if (now !== undefined) {
      isLast = now.oomKills > (kills ?? now.oomKills);
      if (isLast) await oom();
      kills = now.oomKills;
      if (Date.now() >= due) {
        await tell({ type: 'stats', id, data: now.data });
        due = Date.now() + interval;
      }
    }
    await pause(Math.min(interval, OOM_INTERVAL), over.signal);
  }
  const frame = end?.frame;
  // Of an earlier kill that was told, the frame tells too.
  if (frame?.oomKilled && (!hasTold || (frame.signal === SIGKILL && !isLast))) await oom();
}

/** Waits, or until the signal is aborted. */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done);
  });
}
