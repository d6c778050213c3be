// The caches of other hosts that a build looks into after its own, and those that it writes
// (BuildKit's --cache-from and --cache-to of type `local`, in a format of our own).

import { messageOf } from '../errors/index.js';
import { type BuildSteps, type BuildStore, ImageError, type SharedStep, type StepResult } from '../images/build.js';
import type { Steps } from './progress.js';

/** A folder that a build writes its steps to. */
export interface CacheTarget {
  folder: string;
  /** `min`: the steps of the image. `max`: those of all stages that were built for it. */
  mode: 'min' | 'max';
}

export interface SharedCaches {
  /** Takes a step over into the cache; undefined if no folder has it whole. */
  find(key: string): Promise<StepResult | undefined>;
}

/** What the store lacks is no fault of a folder. */
const OWN_FAULTS: readonly string[] = ['no-space', 'no-permission'];

/**
 * Reads the lists of folders. One that cannot be read is left out, and told: a first build has none.
 *
 * @throws the reason of `signal`
 */
export async function openSharedCaches(
  folders: readonly string[],
  { store, cache, steps, signal }: { store: BuildStore; cache: BuildSteps; steps: Steps; signal: AbortSignal },
): Promise<SharedCaches> {
  const found: { folder: string; steps: ReadonlyMap<string, SharedStep> }[] = [];
  for (const folder of folders) {
    signal.throwIfAborted();
    try {
      found.push({ folder, steps: await store.readSteps(folder) });
    } catch (error) {
      steps.warn(`the cache of ${folder} is not used: ${messageOf(error)}`);
    }
  }
  return {
    async find(key) {
      for (const { folder, steps: listed } of found) {
        const step = listed.get(key);
        if (step === undefined) continue;
        try {
          return await cache.take(key, { ...step, tar: () => until(signal, step.tar()) });
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof ImageError) || OWN_FAULTS.includes(error.code)) throw error;
          steps.warn(`a step of the cache of ${folder} is not used: ${error.message}`);
        }
      }
      return undefined;
    },
  };
}

async function* until(signal: AbortSignal, chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    yield chunk;
  }
}
