// The cost of starting the CLI: `tsvm --version`, compared with a bare start of node.
import { type Benchmark, measurement, ratio } from './measurement.js';
import { CLI } from './paths.js';
import { timeSuccess } from './stopwatch.js';

/** Starts per run, as one start is short and noisy. */
const REPETITIONS = 4;

export const cliStart: Benchmark = {
  name: 'cli-start',
  title: 'Start of the CLI',
  needsKvm: false,
  async measure({ runs }) {
    const node: number[] = [];
    const version: number[] = [];
    for (let run = 0; run < runs * REPETITIONS; run++) {
      node.push((await timeSuccess(process.execPath, ['-e', 'console.log(0)'])).exit);
      version.push((await timeSuccess(CLI, ['--version'])).exit);
    }
    const nodeTime = measurement('node -e 0', 'ms', node);
    const versionTime = measurement('tsvm --version', 'ms', version);
    return [nodeTime, versionTime, ratio('tsvm --version / node -e 0', versionTime, nodeTime)];
  },
};
