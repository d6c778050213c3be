// Clones of a running container beside containers that start cold: the time until each has answered
// a command, and the host memory of the clones.
import { execFileSync } from 'node:child_process';
import { OwnHome } from '../e2e/own-home.js';
import { type Benchmark, measurement, need, ratio, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { containerUse, pidOfMachine } from './proc.js';

const CLONES = 100;
const FORK = 'clones by tsvm fork: all answer a command';
const COLD = 'as many containers, each cold: all answer a command';
const TIME_GOAL = 0.1;
/** `MiB` of a clone. */
const MEMORY_GOAL = 25;
// The lab's file system (9p) tells no holes, so that a disk is read whole, once for each copy and
// each checksum. The default of 10 GiB takes minutes each time.
const RUN = ['run', '-d', '--accel', 'kvm', '--cold', '-m', '512M', '--disk', '64M', '--network', 'none'];

export const forks: Benchmark = {
  name: 'forks',
  title: 'Clones of a running container of 512 MiB',
  needsKvm: true,
  async measure({ image, scale }) {
    const clones = Math.max(2, Math.round(CLONES * scale));
    const samples = new Samples();
    using home = new OwnHome();
    const env = { ...process.env, TSVM_HOME: home.path };
    const tsvm = (...words: string[]) =>
      execFileSync(CLI, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], env })
        .split('\n')
        .filter(Boolean);
    const timed = (name: string, start: () => string[]): string[] => {
      const started = performance.now();
      const made = start();
      for (const id of made) tsvm('exec', id, 'true');
      samples.add(name, 'ms', performance.now() - started);
      return made;
    };
    try {
      // The first one fills the caches, too.
      const [source = ''] = tsvm(...RUN, image, 'sleep', 'infinity');
      const made = timed(FORK, () => tsvm('fork', '-n', String(clones), source));
      // All of them run: what they share counts in part for each.
      for (const id of made) {
        const use = containerUse(pidOfMachine(id, env));
        samples.add(
          'host memory of a clone (PSS)',
          'MiB',
          use.reduce((sum, { pss }) => sum + pss, 0),
        );
      }
      tsvm('rm', '-f', source, ...made);
      const cold = timed(COLD, () => made.flatMap(() => tsvm(...RUN, image, 'sleep', 'infinity')));
      tsvm('rm', '-f', ...cold);
      const found = samples.measurements();
      const of = (name: string) =>
        need(
          found.find((each) => each.name === name),
          name,
        );
      return [
        measurement('clones', 'count', [clones]),
        ...found.map((each) => (each.unit === 'MiB' ? { ...each, goal: MEMORY_GOAL } : each)),
        { ...ratio('clones / cold starts', of(FORK), of(COLD)), goal: TIME_GOAL },
      ];
    } finally {
      const left = tsvm('ps', '-aq');
      if (left.length > 0) tsvm('rm', '-f', ...left);
    }
  },
};
