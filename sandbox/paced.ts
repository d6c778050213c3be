// How fast a process reads what a guest may cause others to say. The caller's streams have the pace of
// their readers. What nobody asked for, such as a log, could otherwise take all of a CPU.
import type { Readable } from 'node:stream';

/** Bytes in one second, and at once after a quiet second: ten times what the busiest machine says. */
export const PACE = 1_000_000;
const BURST = 1000;

/**
 * Reads a stream no faster than {@link PACE}: whoever writes to it waits meanwhile. Nothing is lost.
 * The caller reads by `data` events, and does not pause the stream.
 */
export function pace(stream: Readable): void {
  /** The time up to which what was read has used the pace, in milliseconds. */
  let used = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  stream.on('data', (chunk: Buffer) => {
    const now = performance.now();
    used = Math.max(used, now - BURST) + (chunk.length / PACE) * 1000;
    if (used <= now) return;
    stream.pause();
    timer = setTimeout(() => stream.resume(), used - now);
  });
  stream.once('close', () => clearTimeout(timer));
}
