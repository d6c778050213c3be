// Shows the progress of the layers of a pull, in Docker's words. Without a terminal: a line when a
// layer starts and when it is done.
import type { Progress } from '../../images/index.js';
import { LayerBars, type Screen } from './layer-bars.js';
import { formatBytes } from './table.js';

/** Clears the bars when disposed; the lines stay. */
interface PullProgress extends Disposable {
  update(progress: Progress): void;
  /**
   * Says that layers come from a registry, which enables lines for each layer. Before that there
   * are only bars, and only on a terminal.
   */
  pulling(): void;
}

/** @param quiet shows nothing */
export function openPullProgress(quiet: boolean | undefined, screen: Screen = process.stderr): PullProgress {
  if (quiet) return { update() {}, pulling() {}, [Symbol.dispose]() {} };
  const bars = new LayerBars(screen, 'Downloading');
  let isPulling = false;
  const say = (layer: string, what: string) => {
    if (isPulling) bars.say(layer, what);
  };
  return {
    update({ phase, layer, done, total }) {
      if (phase === 'present') say(layer, 'Already exists');
      else if (phase === 'layer') {
        const isNew = bars.set({ layer, done, total });
        if (isNew && !screen.isTTY) say(layer, `Pulling${total === undefined ? '' : ` ${formatBytes(total)}`}`);
        if (done === total) {
          bars.delete(layer);
          say(layer, 'Download complete');
        } else if (!isNew && bars.isFresh) return;
      } else bars.clear();
      bars.flush();
    },
    pulling() {
      isPulling = true;
    },
    [Symbol.dispose]() {
      bars.end();
    },
  };
}
