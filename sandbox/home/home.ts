// A home is a state folder, with everything that tsvm keeps on this host. All state is reached
// through a `Home`. Two homes share nothing but the host.
import { join } from 'node:path';
import { openStore, type Store } from '../../images/index.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from './container-folder.js';
import { isStale } from './container-record.js';
import { ContainerStore, isReadOnly, type StoredContainer } from './container-store.js';
import { EventLog } from './event-log.js';
import { NetworkStore } from './networks.js';
import { defaultHome, defaultRuntime, probeCachePath } from './paths.js';
import { SharedFolders } from './shared-folders.js';
import { openRuntimeFolder } from './socket-folder.js';
import { VolumeStore } from './volumes.js';

/** Other holders of images have names of another kind. */
const CONTAINER_ID = /^[0-9a-f]{64}$/;

/**
 * A state folder. Creating the object touches no file: the stores read and write when they are
 * used.
 */
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
  constructor(path = defaultHome(), runtime = defaultRuntime(path)) {
    this.path = path;
    this.runtime = runtime;
  }

  /**
   * Records of containers.
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

  /**
   * Folders of the host that containers may have written.
   * @internal
   */
  get sharedFolders(): SharedFolders {
    return new SharedFolders(this.containers, this.volumes.path);
  }

  /** Private networks. */
  get networks(): NetworkStore {
    this.#networks ??= new NetworkStore(this.path, this.runtime, this.containers);
    return this.#networks;
  }

  /**
   * Events of containers.
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

  /** True if the folder exists but cannot be written. */
  get isReadOnly(): boolean {
    return isReadOnly(this.path);
  }

  /**
   * Path of the folder of templates of machines.
   * @internal
   */
  get templates(): string {
    return join(this.path, 'templates');
  }

  /**
   * Path of the cached verdict of the KVM probe.
   * @internal
   */
  get probeCache(): string {
    return probeCachePath(this.path);
  }

  /**
   * Makes the folder for sockets if it is missing, and checks its owner and mode.
   * @returns its path
   * @throws SandboxError `state`
   * @internal
   */
  openRuntime(): string {
    return openRuntimeFolder(this.runtime);
  }

  /**
   * Removes stale containers: those with `--rm` whose supervisor was killed before it could. Of
   * others whose supervisor was killed, removes the cgroups.
   * @throws SandboxError `state`, `cgroup`
   * @internal
   */
  async removeStale(): Promise<void> {
    for (const folder of this.containers.folders()) {
      const config = folder.config();
      const state = folder.state();
      if (config !== undefined && isStale(config, state)) await this.#removeStale({ folder, config });
      else if (state.isOrphaned && (state.cgroup ?? state.supervisorCgroup) !== undefined) {
        using lock = folder.hold();
        if (lock !== undefined) await folder.removeCgroups();
      }
    }
  }

  /**
   * Releases the images of containers that do not exist: whoever made or removed one was killed.
   * @throws SandboxError `state`; ImageError
   * @internal
   */
  async releaseLost(): Promise<void> {
    const lost = async () => {
      const holders = (await this.images.holders()).filter((holder) => CONTAINER_ID.test(holder));
      const known = new Set(this.containers.folders().map(({ id }) => id));
      return holders.filter((holder) => !known.has(holder));
    };
    if ((await lost()).length === 0) return;
    // Under the lock, none of them is being made.
    await this.containers.withLock(async () => {
      for (const holder of await lost()) await this.images.release(holder);
    });
  }

  /**
   * Removes a container whose configuration is lost. Its anonymous volumes are not known, and are
   * left to `volume prune`.
   * @throws SandboxError `running`, `state`
   * @internal
   */
  async removeDamaged(folder: ContainerFolder): Promise<void> {
    using lock = await folder.waitToHold();
    // Another process may have removed it.
    if (!folder.isDamaged()) return;
    if (lock === undefined) throw new SandboxError('running', `container ${folder.shortId} is running`);
    await folder.removeCgroups();
    await this.containers.withLock(() => this.containers.names.release(folder.id));
    folder.remove(this.runtime);
    this.events.record(folder.id, 'destroy');
    await this.images.release(folder.id);
  }

  /** Removes a stale container, unless a supervisor has just started it. */
  async #removeStale({ folder, config }: StoredContainer): Promise<void> {
    using lock = folder.hold();
    if (lock === undefined) return;
    await folder.removeCgroups();
    await this.containers.withLock(() => this.containers.names.release(folder.id));
    folder.remove(this.runtime);
    await this.images.release(folder.id);
    await this.volumes.removeAnonymous(config.spec.mounts);
  }
}
