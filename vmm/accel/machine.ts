// What every machine is, however its CPUs run. The machine process uses this interface only. Each
// kind of machine has a folder beside this file and one case in create.ts.
import type { EventLoop } from '../host/event-loop.js';
import type { HostFiles } from '../host/files.js';
import type { Logger } from '../host/log.js';
import { type CompanionEnd, MachineError, type MachineStatistics } from '../machine.js';
import type { SavedMachine } from './saved-machine.js';

/** What the process gives to its machine. Callbacks run inside the event loop, or inside `stop`. */
export interface MachineContext {
  files: HostFiles;
  loop: EventLoop;
  log: Logger;
  /** The guest wrote to its serial console. The bytes are valid during the call only. */
  writeConsole(bytes: Uint8Array): void;
  /**
   * The first vCPU began to run, at `time` in milliseconds since the epoch. Called at most once.
   */
  onStart(time: number): void;
  /**
   * All threads run, and nothing is left to open or start: the process may take its filter. Threads
   * of vCPUs are paused. Called at most once. Absent: there is no filter.
   * Returns the address of the filter that each vCPU's thread adds; 0: none.
   */
  confine?: () => number;
  /** The guest asked for a reset. It may run on until `stop`. */
  onReset(): void;
  /** The guest cannot go on. */
  onCrash(error: MachineError): void;
}

/**
 * The state of a machine. Times are milliseconds since the epoch.
 * - built: kernel and devices are in place; no vCPU has run.
 * - starting: the vCPUs were told to run; none has begun.
 * - running: at least one vCPU runs.
 * - paused: no vCPU runs, and all state can be read.
 * - crashed: the guest cannot go on.
 * - stopped: no vCPU will run again.
 */
export type MachineState =
  | { name: 'built' }
  | { name: 'starting' }
  | { name: 'running'; startTime: number }
  | { name: 'paused'; startTime: number }
  | { name: 'crashed'; error: MachineError }
  | { name: 'stopped' };

/**
 * One virtual machine. A call that the state forbids throws MachineError `bad-state`; a call that
 * this kind of machine cannot do throws `unsupported`. Disposing closes the machine and its
 * devices.
 */
export interface Machine extends Disposable {
  readonly state: MachineState;
  /** Starts the vCPUs of a built machine. @throws MachineError `host`, `no-accelerator` */
  start(): void;
  /**
   * Stops every vCPU of a running machine where it is, with its last exit answered. @throws
   * MachineError `host`
   */
  pause(): void;
  /** Lets the vCPUs of a paused machine run again. */
  resume(): void;
  /** Ends the guest at once, in any state. Takes a few seconds at most. */
  stop(): void;
  /** The companion of the process has ended. A machine on KVM has none. */
  companionEnded(end: CompanionEnd): void;
  /** True while devices still write what the guest gave them. Its host may be slow to read. */
  readonly isUnsent: boolean;
  /**
   * Returns all state of a paused machine, and writes its memory to the file `memory`, which has the
   * memory's size and is all holes. @throws MachineError; libc.SystemError if the disk is full
   */
  save(memory: number): SavedMachine;
  /** Returns the counters so far. Legal in every state. */
  statistics(): MachineStatistics;
}

type StateName = MachineState['name'];

/** A machine's state, with a check that a call fits it. */
export class Lifecycle {
  #state: MachineState = { name: 'built' };

  get state(): MachineState {
    return this.#state;
  }

  /**
   * Returns the state if it is one of `allowed`. @throws MachineError `bad-state`, which names
   * `call`
   */
  require<Name extends StateName>(call: string, ...allowed: Name[]): Extract<MachineState, { name: Name }> {
    const state = this.#state;
    if (isOneOf(state, allowed)) return state;
    const why = state.name === 'crashed' ? `it has crashed (${state.error.message})` : `it is ${state.name}`;
    throw new MachineError('bad-state', `cannot ${call} the machine: ${why}, not ${allowed.join(' or ')}`);
  }

  become(state: MachineState): void {
    this.#state = state;
  }
}

function isOneOf<Name extends StateName>(
  state: MachineState,
  names: readonly Name[],
): state is Extract<MachineState, { name: Name }> {
  return (names as readonly StateName[]).includes(state.name);
}
