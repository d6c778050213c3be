// The effect of a container that computes without end on the latency of another one. The latency is
// that of lines to `tsvm run -i` and back, measured:
// - without a neighbour
// - with a neighbour on as many CPUs as the host has
// - with a neighbour that `--cpus` limits to a part of one CPU
import { availableParallelism } from 'node:os';
import { Conversation } from './conversation.js';
import { type Benchmark, type Measurement, measurement, median, need, ratio } from './measurement.js';

const ROUNDS = 200;
const ECHO = 'trap "exit 0" TERM; echo up; while read line; do echo "$line"; done';
const SPIN =
  'trap "exit 0" TERM; spin() { while :; do :; done; }; for cpu in $(seq $(nproc)); do spin & done; echo up; wait';

/** Returns the round trip time of each line in milliseconds. */
async function roundTrips(conversation: Conversation): Promise<number[]> {
  const samples: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    conversation.say('line');
    await conversation.hear();
    samples.push(performance.now() - start);
  }
  return samples;
}

async function beside(options: readonly string[], image: string, measure: () => Promise<number[]>): Promise<number[]> {
  await using neighbour = new Conversation(options, image, SPIN);
  await neighbour.hear();
  return await measure();
}

const tail = (samples: readonly number[]) =>
  need([...samples].sort((a, b) => a - b)[Math.floor(samples.length * 0.95)], 'sample');

export const noisyNeighbour: Benchmark = {
  name: 'noisy-neighbour',
  title: 'A line to a container and back, beside one that computes without end',
  needsKvm: false,
  async measure({ runs, image }) {
    const cpus = availableParallelism();
    const neighbours: [name: string, options?: string[]][] = [
      ['alone'],
      [`beside --cpus ${cpus}`, ['--cpus', String(cpus)]],
      ['beside --cpus 0.25', ['--cpus', '0.25']],
    ];
    const medians = neighbours.map((): number[] => []);
    const tails = neighbours.map((): number[] => []);
    await using conversation = new Conversation([], image, ECHO);
    await conversation.hear();
    // The first lines are slower, with or without a neighbour.
    await roundTrips(conversation);
    for (let run = 0; run < runs; run++) {
      for (const [index, [, options]] of neighbours.entries()) {
        const measure = () => roundTrips(conversation);
        const samples = options === undefined ? await measure() : await beside(options, image, measure);
        medians[index]?.push(median(samples));
        tails[index]?.push(tail(samples));
      }
    }
    const named = (all: number[][], what: string): Measurement[] =>
      neighbours.map(([name], index) => measurement(`${name}: ${what}`, 'ms', need(all[index], what)));
    const [mid, late] = [named(medians, 'median'), named(tails, '95th percentile')];
    const ratios = [mid, late].flatMap(([alone, ...others]) =>
      others.map((other) => ratio(`${other.name} / alone`, other, alone)),
    );
    return [...mid, ...late, ...ratios];
  },
};
