// The cost of a network at the start of a container: `tsvm run` of a short command without a
// network, with passt, with a published port, and in private networks. Each round measures all of
// them in turn, so each ratio compares two runs that are close in time and meet the same load of
// the host.
import { execFileSync } from 'node:child_process';
import { type Benchmark, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { timeSuccess } from './stopwatch.js';

const OPEN = `bench-${process.pid}`;
const INTERNAL = `bench-internal-${process.pid}`;

/** The others are compared with the first. */
const WAYS: [name: string, options: string[]][] = [
  ['no network', ['--network', 'none']],
  ['passt', ['--network', 'passt']],
  ['passt, a port published', ['-p', '127.0.0.1::80']],
  ['a private network, and passt', ['--network', OPEN]],
  ['an internal network', ['--network', INTERNAL]],
];

function network(...words: string[]): void {
  execFileSync(CLI, ['network', ...words], { stdio: ['ignore', 'ignore', 'inherit'] });
}

export const networkStart: Benchmark = {
  name: 'network-start',
  title: 'What a network costs at the start: tsvm run IMAGE echo hello, to its exit',
  needsKvm: false,
  async measure({ runs, image }) {
    const samples = new Samples();
    network('create', OPEN);
    try {
      network('create', '--internal', INTERNAL);
      for (let run = -1; run < 2 * runs; run++) {
        let without: number | undefined;
        for (const [name, options] of WAYS) {
          const { exit } = await timeSuccess(CLI, ['run', '--rm', ...options, image, 'echo', 'hello']);
          without ??= exit;
          // The very first round fills the caches.
          if (run < 0) continue;
          samples.add(name, 'ms', exit);
          if (name !== WAYS[0]?.[0]) samples.add(`${name}, beside none`, 'ratio', exit / without);
        }
      }
    } finally {
      network('rm', OPEN, INTERNAL);
    }
    return samples.measurements();
  },
};
