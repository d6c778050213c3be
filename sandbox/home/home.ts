// A home: the state folder, with everything that stays on this host. All state is reached through an object of this
// class; two homes share nothing but the host.
import { openStore, type Store } from '../../images/index.js';
import { isStale } from './container-record.js';
import { ContainerStore, isReadOnly, type StoredContainer } from './container-store.js';
import { EventLog } from './event-log.js';
import { NetworkStore } from './networks.js';
import { defaultHome, defaultRuntime, probeCachePath } from './paths.js';
import { openRuntimeFolder } from './socket-folder.js';
import { VolumeStore } from './volumes.js';

/** A state folder. Making the object touches no file: each store reads and writes when it is used. */
export class Home {
  readonly path: string;
  /** Path of the folder for sockets. */
  readonly runtime: string;
  #containers: ContainerStore | undefined;
  #networks: NetworkStore | undefined;
  #volumes: VolumeStore | undefined;

  /**
   * @param path Default: `$TSVM_HOME`, `$XDG_DATA_HOME/tsvm` or `~/.local/share/tsvm`.
   * @param runtime Default: `$XDG_RUNTIME_DIR/tsvm` or `/tmp/tsvm-UID`. Sockets need a short path.
   */
  constructor(path = defaultHome(), runtime = defaultRuntime()) {
    this.path = path;
    this.runtime = runtime;
  }

  /**
   * The records of containers.
   * @internal
   */
  get containers(): ContainerStore {
    this.#containers ??= new ContainerStore(this.path, this.runtime);
    return this.#containers;
  }

  /** Named and anonymous volumes. */
  get volumes(): VolumeStore {
    this.#volumes ??= new VolumeStore(this.path, this.containers);
    return this.#volumes;
  }

  /** Private networks. */
  get networks(): NetworkStore {
    this.#networks ??= new NetworkStore(this.path, this.runtime, this.containers);
    return this.#networks;
  }

  /**
   * What happened to containers.
   * @internal
   */
  get events(): EventLog {
    return new EventLog(this.containers.path);
  }

  /**
   * The image store.
   * @internal
   */
  get images(): Store {
    return openStore(this.path);
  }

  /** True if the folder exists and cannot be written. */
  get isReadOnly(): boolean {
    return isReadOnly(this.path);
  }

  /**
   * Path of the file that keeps the verdict of the KVM probe between runs.
   * @internal
   */
  get probeCache(): string {
    return probeCachePath(this.path);
  }

  /**
   * Makes the folder for sockets if it is missing; its path. @throws SandboxError `state`
   * @internal
   */
  openRuntime(): string {
    return openRuntimeFolder(this.runtime);
  }

  /**
   * Removes stale containers: they were to be removed when they end, and their supervisor was killed before it could.
   * @throws SandboxError `state`
   * @internal
   */
  async removeStale(): Promise<void> {
    for (const folder of this.containers.folders()) {
      const config = folder.config();
      if (config !== undefined && isStale(config, folder.state())) await this.#removeStale({ folder, config });
    }
  }

  /** Removes one, unless a supervisor has just started it. */
  async #removeStale({ folder, config }: StoredContainer): Promise<void> {
    using lock = folder.lock();
    if (lock === undefined) return;
    await this.containers.withLock(() => this.containers.names.release(folder.id));
    folder.remove();
    await this.volumes.removeAnonymous(config.spec.mounts);
  }
}
