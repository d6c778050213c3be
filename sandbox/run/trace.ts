// The times at which a run reached its phases, for the debug log and the benchmarks.
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

/** Times by phase, in milliseconds since the epoch. A phase that was not reached is missing. */
export class Trace {
  readonly phases: Partial<Record<Phase, number>> = { cliStarted: performance.timeOrigin };
  /** The machine's statistics right after the process started. */
  statistics?: MachineStatistics;
  readonly #file: string | undefined;

  /**
   * @param file path of a file to which one line of JSON is appended. Default: `$TSVM_TRACE`, or
   *   none.
   */
  constructor(file = process.env.TSVM_TRACE) {
    this.#file = file;
  }

  /** True if the trace is written to a file. */
  get wanted(): boolean {
    return this.#file !== undefined;
  }

  /** Records the time of a phase. Later marks of the same phase are ignored. */
  mark(phase: Phase, time = performance.timeOrigin + performance.now()): void {
    this.phases[phase] ??= time;
  }

  /** Records the times that the machine process measured. */
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
