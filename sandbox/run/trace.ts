// When a run reached each of its phases: for the debug log and the benchmarks.
import { appendFileSync } from 'node:fs';
import type { MachineStatistics, MachineTimes } from '../../vmm/machine.js';

export type Phase =
  | 'cliStarted'
  | 'machineSpawned'
  | 'foldersMade'
  | 'bootSent'
  | 'machineStarted'
  | 'specReceived'
  | 'vcpusStarted'
  | 'agentStarted'
  | 'agentHello'
  | 'networkUp'
  | 'processStarted'
  | 'firstOutput'
  | 'exited'
  | 'done';

/** Milliseconds since the epoch, by phase; phases that were not reached are missing. */
export class Trace {
  readonly phases: Partial<Record<Phase, number>> = { cliStarted: performance.timeOrigin };
  /** What the machine had counted when the process had started. */
  statistics?: MachineStatistics;
  readonly #file: string | undefined;

  /** @param file gets one line of JSON for the run; absent: none */
  constructor(file = process.env.TSVM_TRACE) {
    this.#file = file;
  }

  /** Whether somebody waits for the machine's statistics. */
  get wanted(): boolean {
    return this.#file !== undefined;
  }

  /** Notes that `phase` is reached; the first time counts. */
  mark(phase: Phase, time = performance.timeOrigin + performance.now()): void {
    this.phases[phase] ??= time;
  }

  /** Notes what the machine process did when. */
  markMachine({ processStarted, specReceived, vcpusStarted }: MachineTimes): void {
    this.mark('machineStarted', processStarted);
    this.mark('specReceived', specReceived);
    this.mark('vcpusStarted', vcpusStarted);
  }

  write(): void {
    if (this.#file === undefined) return;
    appendFileSync(this.#file, `${JSON.stringify({ phases: this.phases, statistics: this.statistics })}\n`);
  }
}
