// Compares what options of `tsvm run` cost at the start of a container: a short command, to its
// exit. Each round measures all ways in turn, so each ratio compares two runs that are close in
// time and meet the same load of the host.
import { type Measurement, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { timeSuccess } from './stopwatch.js';

/** A name, and the options of `tsvm run`. */
export type Way = [name: string, options: string[]];

/** Compares the others with the first. */
export async function compareStarts(
  [first, ...others]: [Way, ...Way[]],
  image: string,
  rounds: number,
): Promise<Measurement[]> {
  const samples = new Samples();
  const start = async ([name, options]: Way, isCounted: boolean) => {
    const { exit } = await timeSuccess(CLI, ['run', '--rm', ...options, image, 'echo', 'hello']);
    if (isCounted) samples.add(name, 'ms', exit);
    return exit;
  };
  for (let round = -1; round < rounds; round++) {
    // The very first round fills the caches.
    const isCounted = round >= 0;
    const alone = await start(first, isCounted);
    for (const way of others) {
      const exit = await start(way, isCounted);
      if (isCounted) samples.add(`${way[0]}, beside ${first[0]}`, 'ratio', exit / alone);
    }
  }
  return samples.measurements();
}
