// The cost of the jail at the start of a container.
import type { Benchmark } from './measurement.js';
import { compareStarts } from './start-options.js';

export const jailStart: Benchmark = {
  name: 'jail-start',
  title: 'What the jail costs at the start: tsvm run IMAGE echo hello, to its exit',
  needsKvm: false,
  measure: ({ runs, image }) =>
    compareStarts(
      [
        ['no jail', ['--network', 'none', '--jail', 'off']],
        ['a jail', ['--network', 'none', '--jail', 'auto']],
      ],
      image,
      3 * runs,
    ),
};
