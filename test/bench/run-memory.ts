// The host memory of the processes of a run while its container idles.
import type { ChildProcess } from 'node:child_process';
import { type Benchmark, need, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { type MemoryUse, machineOf, memoryUse } from './proc.js';
import { time } from './stopwatch.js';

/** Milliseconds to wait until memory that only the start needed is freed. */
const SETTLE = 1000;

export const runMemory: Benchmark = {
  name: 'run-memory',
  title: 'Memory while a container sleeps',
  needsKvm: true,
  async measure({ runs, image }) {
    const samples = new Samples();
    const add = (name: string, { pss, guestPss, peakRss }: MemoryUse) => {
      samples.add(`${name}: beside the guest's (PSS)`, 'MiB', pss - guestPss);
      samples.add(`${name}: peak RSS`, 'MiB', peakRss);
    };
    const onOutput = async ({ pid }: ChildProcess) => {
      await new Promise((resolve) => setTimeout(resolve, SETTLE));
      const machine = need(machineOf(pid!), 'machine process');
      const machineUse = memoryUse(machine);
      add('CLI', memoryUse(pid!));
      add('machine', machineUse);
      samples.add('guest memory in use', 'MiB', machineUse.guestPss);
      process.kill(pid!, 'SIGTERM');
    };
    for (let run = 0; run < runs; run++) {
      const command = 'trap "exit 0" TERM; echo up; while :; do sleep 0.1; done';
      await time(CLI, ['run', '--rm', '-m', '256M', image, 'sh', '-c', command], { until: 'up', onOutput });
    }
    return samples.measurements();
  },
};
