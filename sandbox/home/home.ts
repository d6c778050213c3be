// A home: the state folder, with everything that stays on this host. All state is reached through an object of this
// class; two homes share nothing.
import { openStore, type Store } from '../../images/index.js';
import { NetworkStore } from './networks.js';
import { defaultHome, probeCachePath } from './paths.js';
import { VolumeStore } from './volumes.js';

/** A state folder. Making the object touches no file: each store reads and writes when it is used. */
export class Home {
  readonly path: string;
  #networks: NetworkStore | undefined;
  #volumes: VolumeStore | undefined;

  /** @param path Default: `$TSVM_HOME`, `$XDG_DATA_HOME/tsvm` or `~/.local/share/tsvm`. */
  constructor(path = defaultHome()) {
    this.path = path;
  }

  /** The image store. @internal */
  get images(): Store {
    return openStore(this.path);
  }

  /** Named and anonymous volumes. */
  get volumes(): VolumeStore {
    this.#volumes ??= new VolumeStore(this.path);
    return this.#volumes;
  }

  /** Private networks. */
  get networks(): NetworkStore {
    this.#networks ??= new NetworkStore(this.path);
    return this.#networks;
  }

  /** Path of the file that keeps the verdict of the KVM probe between runs. @internal */
  get probeCache(): string {
    return probeCachePath(this.path);
  }
}

/** $TSVM_HOME, or $XDG_DATA_HOME/tsvm, or ~/.local/share/tsvm. */
export function tsvmHome(): string {
  return defaultHome();
}
