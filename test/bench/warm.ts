// What a template saves at the start of a container: warm and cold runs in turn, each to its exit,
// the machine's part of them, and what they cost by then in exits, ioctls and copied pages.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Phase } from '../../sandbox/run/trace.js';
import type { MachineStatistics } from '../../vmm/machine.js';
import { OwnHome } from '../e2e/own-home.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { CLI } from './paths.js';
import { copiedPages, pidOfMachine } from './proc.js';
import { time } from './stopwatch.js';

const WARM = 'warm';
const COLD = 'cold';
const RUN = 'tsvm run --rm IMAGE true';
const MACHINE = 'specification received to process started';
const RUN_GOAL = 0.4;
const MACHINE_GOAL = 0.15;

interface TraceLine {
  phases: Record<Phase, number>;
  statistics: MachineStatistics;
}

async function measureRun(
  kind: string,
  image: string,
  env: NodeJS.ProcessEnv & { TSVM_TRACE: string },
  samples: Samples,
): Promise<void> {
  const { TSVM_TRACE: trace } = env;
  const words = ['run', '--rm', '--accel', 'kvm', ...(kind === COLD ? ['--cold'] : []), image, 'true'];
  const { exit, code, text } = await time(CLI, words, { env });
  if (code !== 0) throw new Error(`${words.join(' ')}: exit code ${code}\n${text}`);
  const { phases, statistics } = JSON.parse(readFileSync(trace, 'utf8')) as TraceLine;
  rmSync(trace);
  samples.add(`${kind}: ${RUN}`, 'ms', exit);
  samples.add(`${kind}: ${MACHINE}`, 'ms', phases.processStarted - phases.specReceived);
  samples.add(`${kind}: exits to the VMM until the process started`, 'count', total(statistics.exits));
  samples.add(`${kind}: KVM ioctls until then, other than KVM_RUN`, 'count', total(statistics.ioctls));
}

const total = (counts: Record<string, number>): number => Object.values(counts).reduce((sum, count) => sum + count, 0);

/**
 * Pages of the template that the machine of a container has copied, once the container's process
 * sleeps.
 */
function measureCopies(image: string, env: NodeJS.ProcessEnv, samples: Samples): void {
  const tsvm = (...words: string[]) =>
    execFileSync(CLI, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], env }).trim();
  const id = tsvm('run', '-d', '--rm', '--accel', 'kvm', image, 'sleep', 'infinity');
  try {
    samples.add(`${WARM}: pages of the template copied`, 'count', copiedPages(pidOfMachine(id, env)));
  } finally {
    tsvm('rm', '-f', id);
  }
}

export const warm: Benchmark = {
  name: 'warm',
  title: 'A run whose machine comes from a template, beside one whose machine boots',
  needsKvm: true,
  async measure({ runs, image }) {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    using home = new OwnHome();
    try {
      const samples = new Samples();
      const env = { ...process.env, TSVM_HOME: home.path, TSVM_TEMPLATES_SIZE: '', TSVM_TRACE: join(folder, 'trace') };
      execFileSync(CLI, ['template', 'create'], { stdio: 'ignore', env });
      // The first of each fills the caches.
      for (const kind of [WARM, COLD]) await measureRun(kind, image, env, new Samples());
      for (let run = 0; run < runs; run++) {
        for (const kind of [WARM, COLD]) await measureRun(kind, image, env, samples);
        measureCopies(image, env, samples);
      }
      const measured = samples.measurements();
      const named = (kind: string, what: string): Measurement | undefined =>
        measured.find(({ name }) => name === `${kind}: ${what}`);
      return [
        ...measured,
        { ...ratio(`${RUN}: warm / cold`, named(WARM, RUN), named(COLD, RUN)), goal: RUN_GOAL },
        { ...ratio(`${MACHINE}: warm / cold`, named(WARM, MACHINE), named(COLD, MACHINE)), goal: MACHINE_GOAL },
      ];
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};
