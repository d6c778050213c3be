// Shows the progress of the layers of a push, in Docker's words. Without a terminal: a line when a
// layer starts and when it is done.
import type { PushProgress } from '../../images/index.js';
import { LayerBars, type Screen } from './layer-bars.js';
import { formatBytes } from './table.js';

/** Clears the bars when disposed; the lines stay. */
interface PushLines extends Disposable {
  update(progress: PushProgress): void;
}

/** @param quiet shows nothing */
export function openPushProgress(quiet: boolean | undefined, screen: Screen = process.stderr): PushLines {
  if (quiet) return { update() {}, [Symbol.dispose]() {} };
  const bars = new LayerBars(screen, 'Pushing');
  return {
    update(progress) {
      const { phase, layer, total } = progress;
      if (phase === 'pushing') {
        const isNew = bars.set(progress);
        if (isNew && !screen.isTTY) bars.say(layer, `Pushing ${formatBytes(total)}`);
        if (!isNew && bars.isFresh) return;
      } else {
        bars.delete(layer);
        bars.say(layer, wordsOf(progress));
      }
      bars.flush();
    },
    [Symbol.dispose]() {
      bars.end();
    },
  };
}

function wordsOf({ phase, from }: PushProgress): string {
  if (phase === 'present') return 'Layer already exists';
  return phase === 'mounted' ? `Mounted from ${from}` : 'Pushed';
}
