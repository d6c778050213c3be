// The cost of the jail at the start of a container.
import type { Benchmark } from './measurement.js';
import { compareStarts } from './start-options.js';

/** Five percent more time. */
const GOAL = 1.05;

export const jailStart: Benchmark = {
  name: 'jail-start',
  title: 'What the jail costs at the start: tsvm run IMAGE echo hello, to its exit',
  needsKvm: false,
  async measure({ runs, image }) {
    const measured = await compareStarts(
      [
        ['no jail', ['--network', 'none', '--jail', 'off']],
        ['a jail', ['--network', 'none', '--jail', 'auto']],
      ],
      image,
      3 * runs,
    );
    return measured.map((each) => (each.unit === 'ratio' ? { ...each, goal: GOAL } : each));
  },
};
