// The cost of a network at the start of a container: without one, with the outside, with a published
// port, and in private networks.
import { execFileSync } from 'node:child_process';
import type { Benchmark } from './measurement.js';
import { CLI } from './paths.js';
import { compareStarts, type Way } from './start-options.js';

const OPEN = `bench-${process.pid}`;
const INTERNAL = `bench-internal-${process.pid}`;

const WAYS: [Way, ...Way[]] = [
  ['no network', ['--network', 'none']],
  ['the outside', ['--network', 'default']],
  ['the outside, a port published', ['-p', '127.0.0.1::80']],
  ['a private network, and the outside', ['--network', OPEN]],
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
    network('create', OPEN);
    try {
      network('create', '--internal', INTERNAL);
      return await compareStarts(WAYS, image, 2 * runs);
    } finally {
      network('rm', OPEN, INTERNAL);
    }
  },
};
