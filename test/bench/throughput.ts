// Bytes through the devices: streams over vsock, the image's disk, the scratch disk.
import { type Benchmark, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { timeSuccess } from './stopwatch.js';

const MIB = 2 ** 20;

/**
 * Shell commands that move bytes and tell how many. They run in the container, which times them itself: the machine's
 * start is no part of them.
 */
const TASKS: [name: string, options: string[], command: string][] = [
  ['vsock, guest to host', [], 'head -c 67108864 /dev/zero >&2 && echo 67108864'],
  ['image disk, read', [], 'find /usr -xdev -type f -print0 | xargs -0 cat | wc -c'],
  [
    'scratch disk, write and sync',
    ['--disk', '1G'],
    'dd if=/dev/zero bs=1M count=64 conv=fsync status=none of=/file && echo 67108864',
  ],
];

export const throughput: Benchmark = {
  name: 'throughput',
  title: 'Throughput of the devices',
  needsKvm: true,
  async measure({ runs, image }) {
    const samples = new Samples();
    for (const [name, options, command] of TASKS) {
      for (let run = 0; run < runs; run++) {
        const script = `start=$(date +%s%N); bytes=$(${command}); end=$(date +%s%N); echo "took $bytes $((end - start))"`;
        const { stdout } = await timeSuccess(CLI, ['run', '--rm', ...options, image, 'sh', '-c', script]);
        const [, bytes, nanoseconds] = /took (\d+) (\d+)/.exec(stdout) ?? [];
        if (bytes === undefined) throw new Error(`${name}: the container said ${JSON.stringify(stdout)}`);
        samples.add(name, 'MiB/s', Number(bytes) / MIB / (Number(nanoseconds) / 1e9));
      }
    }
    return samples.measurements();
  },
};
