// The time of `tsvm run` of a short command: in total, as the shell sees it, and by phase of the
// run.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Phase } from '../../sandbox/run/trace.js';
import type { Accelerator, MachineStatistics } from '../../vmm/machine.js';
import { type Benchmark, type BenchmarkOptions, type Measurement, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { timeSuccess } from './stopwatch.js';

/**
 * The phase at which each stretch of a run ends. A stretch begins where the one before it ends. The
 * first one begins when the shell starts the CLI.
 */
const STRETCHES: [name: string, end: Phase][] = [
  ['CLI start', 'machineSpawned'],
  ['image and folders', 'foldersMade'],
  ['machine process start (rest)', 'specReceived'],
  ['VMM set-up', 'vcpusStarted'],
  ['kernel', 'agentStarted'],
  ['agent', 'agentHello'],
  ['process start', 'processStarted'],
  ['process', 'exited'],
  ['end of the run', 'done'],
];

interface TraceLine {
  phases: Record<Phase, number>;
  statistics?: MachineStatistics;
}

async function measureRun(accel: Accelerator, image: string, traceFile: string, samples: Samples): Promise<void> {
  const started = performance.timeOrigin + performance.now();
  const env = { ...process.env, TSVM_TRACE: traceFile };
  const timing = await timeSuccess(CLI, ['run', '--rm', '--accel', accel, image, 'echo', 'hello'], { env });
  const { phases, statistics } = JSON.parse(readFileSync(traceFile, 'utf8')) as TraceLine;
  samples.add('tsvm run to first output', 'ms', timing.output);
  samples.add('tsvm run to exit', 'ms', timing.exit);
  let begin = started;
  for (const [name, end] of STRETCHES) {
    samples.add(`  ${name}`, 'ms', phases[end] - begin);
    begin = phases[end];
  }
  samples.add('  CLI end', 'ms', started + timing.exit - begin);
  for (const [reason, count] of Object.entries(statistics?.exits ?? {})) {
    samples.add(`exits to the VMM until the process started, ${reason}`, 'count', count);
  }
  const ioctls = Object.values(statistics?.ioctls ?? {}).reduce((sum, count) => sum + count, 0);
  if (ioctls > 0) samples.add('KVM ioctls until the process started, other than KVM_RUN', 'count', ioctls);
}

/**
 * Measures runs of `image` on an accelerator. `beside` is called before each run, so that both meet
 * the same load of the host.
 */
export async function measurePhases(
  accel: Accelerator,
  { runs, image }: BenchmarkOptions,
  beside?: () => Promise<void>,
): Promise<Measurement[]> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
  try {
    const samples = new Samples();
    // The very first run fills the caches: the image's disk and the result of the KVM probe.
    await measureRun(accel, image, join(folder, 'first'), new Samples());
    for (let run = 0; run < runs; run++) {
      await beside?.();
      await measureRun(accel, image, join(folder, `${run}`), samples);
    }
    return samples.measurements();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export const runPhases: Benchmark = {
  name: 'run-phases',
  title: 'tsvm run IMAGE echo hello',
  needsKvm: true,
  measure: (options) => measurePhases('kvm', options),
};
