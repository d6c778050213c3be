// What a supervision writes down of its container: its state, which others read, and events.
import { messageOf } from '../../errors/index.js';
import type { Refusal } from '../../vmm/machine.js';
import { defined } from '../defined.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { ContainerConfig, ContainerState } from '../home/container-record.js';
import type { Home } from '../home/home.js';
import type { Log } from '../log.js';

type Kept = 'status' | 'exitCode' | 'oomKilled' | 'restartCount';

/** What changes in a container's state. A field that is undefined is removed. */
export type StateChange = Partial<Pick<ContainerState, Kept>> & {
  [Field in Exclude<keyof ContainerState, Kept>]?: ContainerState[Field] | undefined;
};

export interface StateRecorderOptions {
  /** Nothing of the container is run: there are no events, and it is not removed. */
  isSilent?: boolean | undefined;
  log: Log;
}

/** Of one supervision; only who holds the container's lock may have one. */
export class StateRecorder {
  readonly #name: string | undefined;
  readonly #isSilent: boolean;
  readonly #log: Log;
  #state: ContainerState;

  constructor(
    private readonly home: Home,
    private readonly folder: ContainerFolder,
    private readonly config: ContainerConfig,
    { isSilent = false, log }: StateRecorderOptions,
  ) {
    const { isOrphaned, ...state } = folder.state();
    this.#state = state;
    this.#name = home.containers.names.of(folder.id);
    this.#isSilent = isSilent;
    this.#log = log;
  }

  get state(): ContainerState {
    return this.#state;
  }

  /** A disk that takes no more is no reason to end a container: readers see it as it was, or as lost. */
  write(change: StateChange): void {
    this.#state = defined({ ...this.#state, ...change });
    try {
      this.folder.writeState(this.#state);
    } catch (error) {
      this.#log.warn(messageOf(error));
    }
  }

  record(action: string, attributes: Record<string, string> = {}): void {
    if (this.#isSilent) return;
    const { image } = this.config.spec;
    this.home.events.record(this.folder.id, action, { image, name: this.#name ?? '', ...attributes });
  }

  /** The container's process has ended. */
  ended(how: Pick<ContainerState, 'exitCode'> & Partial<Pick<ContainerState, 'oomKilled' | 'error'>>): void {
    if (how.oomKilled) this.record('oom');
    this.record('die', { exitCode: String(how.exitCode) });
    this.write({ ...how, status: 'exited', finishedAt: new Date().toISOString(), machinePid: undefined });
  }

  /** What the container may not reach and tried to. */
  refused(refusal: Refusal): void {
    this.#log.info('the network refused', { ...refusal });
    const { reason, what, destination = '' } = refusal;
    this.home.events.record(this.folder.id, 'network-refused', { reason, what, destination });
  }

  /** Nobody supervises it any more, and with --rm there is nothing left to supervise. */
  async close(): Promise<void> {
    const { containers, volumes } = this.home;
    const { autoRemove, mounts } = this.config.spec;
    if (!autoRemove || this.#isSilent) {
      const { status } = this.#state;
      this.write({
        status: status === 'created' ? 'created' : 'exited',
        supervisorPid: undefined,
        machinePid: undefined,
        sockets: undefined,
      });
      return;
    }
    await containers
      .withLock(() => containers.names.release(this.folder.id))
      .catch((error) => this.#log.warn(messageOf(error)));
    this.folder.remove();
    await volumes.removeAnonymous(mounts).catch((error) => this.#log.warn(messageOf(error)));
    this.record('destroy');
  }
}
