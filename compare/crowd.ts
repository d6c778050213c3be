// Several sandboxes of one level at once: how long each takes to start beside the others, what each
// weighs, and what it adds on disk.
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, messageOf } from '../errors/index.js';
import { GAUGE, type PreparedLevel } from './level.js';
import { crowdMeasures, type Measure } from './measures.js';
import { weigh } from './memory.js';
import { end, type Idling, SETTLE, startIdling } from './running.js';

/** Bytes of a block of `struct stat` (inode(7)). */
const BLOCK = 512;

export interface CrowdOptions {
  /** Ids of the sandboxes. */
  ids: readonly string[];
  signal: AbortSignal;
  onSample(measure: Measure, value: number): void;
  /** A measure has no value here. */
  onNone(measure: Measure, reason: string): void;
}

/** @throws the reason of `signal`. What fails beside it is told by `onNone`. */
export async function measureCrowd(level: PreparedLevel, options: CrowdOptions): Promise<void> {
  const { ids, signal, onSample, onNone } = options;
  const { start, memory, cache, disk } = crowdMeasures(ids.length);
  const idling: Idling[] = [];
  try {
    const before = level.places === undefined ? 0 : sizeOf(level.places);
    const started = await Promise.allSettled(
      ids.map(async (id) => {
        idling.push(await startIdling(level.start(id, [GAUGE, 'idle']), signal, level.remove?.(id)));
      }),
    );
    signal.throwIfAborted();
    const failed = started.find((each) => each.status === 'rejected');
    if (failed !== undefined) {
      for (const measure of [start, memory, cache, disk]) onNone(measure, messageOf(failed.reason));
      return;
    }
    for (const { time } of idling) onSample(start, time);
    await sleep(SETTLE, undefined, { signal }).catch(() => signal.throwIfAborted());
    if (level.places === undefined) onNone(disk, 'the level does not say where it keeps files');
    else onSample(disk, Math.max(0, sizeOf(level.places) - before) / ids.length / 1024);
    try {
      const weights = idling.map(({ pid }) => weigh(pid));
      const mean = (of: 'memory' | 'cache') => weights.reduce((sum, weight) => sum + weight[of], 0) / ids.length;
      onSample(memory, mean('memory'));
      onSample(cache, mean('cache'));
    } catch (error) {
      for (const measure of [memory, cache]) onNone(measure, messageOf(error));
    }
  } finally {
    await Promise.all(idling.map((each) => each[Symbol.asyncDispose]()));
    await Promise.all(ids.map((id) => end(level, id)));
  }
}

/** Bytes that files take on disk, holes apart. A file with two names counts once. */
function sizeOf(places: readonly string[]): number {
  const seen = new Set<string>();
  const size = (path: string): number => {
    try {
      const status = lstatSync(path);
      const file = `${status.dev} ${status.ino}`;
      if (seen.has(file)) return 0;
      seen.add(file);
      const names = status.isDirectory() ? readdirSync(path) : [];
      return status.blocks * BLOCK + names.reduce((sum, name) => sum + size(join(path, name)), 0);
    } catch (error) {
      // It was removed after it was listed.
      if (hasCode(error, 'ENOENT')) return 0;
      throw error;
    }
  };
  return places.reduce((sum, path) => sum + size(path), 0);
}
