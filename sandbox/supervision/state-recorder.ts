// Records the state of a supervised container, which other processes read, and its events.
import { messageOf } from '../../errors/index.js';
import type { Refusal } from '../../vmm/machine.js';
import { defined } from '../defined.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { ContainerConfig, ContainerState, Health } from '../home/container-record.js';
import type { Home } from '../home/home.js';
import type { Log } from '../log.js';

type Kept = 'status' | 'exitCode' | 'oomKilled' | 'restartCount';

/** A change of a container's state. A field that is undefined is removed. */
export type StateChange = Partial<Pick<ContainerState, Kept>> & {
  [Field in Exclude<keyof ContainerState, Kept>]?: ContainerState[Field] | undefined;
};

export interface StateRecorderOptions {
  /** If true, the container only gives access to its files: it has no events and is not removed. */
  isSilent?: boolean | undefined;
  log: Log;
}

/** Writes for one supervision, which holds the container's lock. */
export class StateRecorder {
  readonly #name: string | undefined;
  readonly #isSilent: boolean;
  readonly #log: Log;
  #isKept = false;
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

  /**
   * A failed write (disk full) is only logged: the container goes on, and readers see its last
   * state, or that it is lost.
   */
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

  /** Records the exit of the container's process. */
  ended(how: Pick<ContainerState, 'exitCode'> & Partial<Pick<ContainerState, 'oomKilled' | 'error'>>): void {
    if (how.oomKilled) this.record('oom');
    this.record('die', { exitCode: String(how.exitCode) });
    this.write({
      ...how,
      status: 'exited',
      finishedAt: new Date().toISOString(),
      pid: undefined,
      machinePid: undefined,
      companionPid: undefined,
      accelerator: undefined,
      acceleratorReason: undefined,
      jail: undefined,
      unresponsive: undefined,
    });
  }

  /** Records what a health check has found. */
  checked(health: Health): void {
    const isChange = health.status !== this.#state.health?.status;
    this.write({ health });
    if (isChange) this.record(`health_status: ${health.status}`);
  }

  /** Records that the machine is on the disk. */
  suspended(): void {
    this.record('suspend');
    this.write({ status: 'suspended' });
  }

  /** Records a connection that the network policy refused. */
  refused(refusal: Refusal): void {
    this.#log.info('the network refused', { ...refusal });
    const { reason, what, destination = '' } = refusal;
    this.home.events.record(this.folder.id, 'network-refused', { reason, what, destination });
  }

  /** Leaves the container at the end of the supervision, also with `--rm`. */
  keep(): void {
    this.#isKept = true;
  }

  /**
   * Records the end of the supervision. With `--rm`, removes the container unless it is suspended, or
   * its machine's cgroup is still there: that is known by the record alone.
   */
  async close(): Promise<void> {
    const { containers, images, volumes } = this.home;
    const { autoRemove, mounts } = this.config.spec;
    if (!autoRemove || this.#isSilent || this.#isKept || this.folder.isSuspended()) {
      const { status } = this.#state;
      this.write({
        status: status === 'created' || status === 'suspended' ? status : 'exited',
        supervisorPid: undefined,
        filesOnly: undefined,
        pid: undefined,
        machinePid: undefined,
        companionPid: undefined,
        accelerator: undefined,
        acceleratorReason: undefined,
        jail: undefined,
        sockets: undefined,
      });
      return;
    }
    // Without an end of the supervision in its record it is stale (Home.removeStale).
    if (this.#state.cgroup !== undefined) return;
    await containers
      .withLock(() => containers.names.release(this.folder.id))
      .catch((error) => this.#log.warn(messageOf(error)));
    this.folder.remove(this.home.runtime);
    // If it was suspended.
    await images.release(this.folder.id).catch((error) => this.#log.warn(messageOf(error)));
    await volumes.removeAnonymous(mounts).catch((error) => this.#log.warn(messageOf(error)));
    this.record('destroy');
  }
}
