// What a run needs besides the container's configuration and streams, and how it ends.
import type { Image } from '../../images/index.js';
import type { Accelerator, EgressPort, MachineSpec, Refusal } from '../../vmm/machine.js';
import type { Home } from '../home/home.js';
import type { ContainerNetworks } from '../home/networks.js';
import type { SocketFolder } from '../home/socket-folder.js';
import type { Log } from '../log.js';
import type { MachineClient } from '../machine/machine-client.js';
import type { Secrets } from '../spec/secrets.js';
import type { Trace } from './trace.js';

/** Where the disk of the writable layer is. */
export interface Layer {
  path: string;
  /** If false, the layer need not outlive a crash of the host. */
  kept: boolean;
}

/** A saved machine that a run continues. */
export interface SavedSource {
  /** Path of its folder. */
  path: string;
  /** It is a snapshot's: the container becomes another than the one that was saved. */
  isClone: boolean;
}

/** What runs a machine instead of KVM. */
export interface Fallback {
  accel: Accelerator;
  /** Why it is not KVM and, for the emulator, not User-Mode Linux. */
  reason: string;
}

export interface RunOptions {
  image: Image;
  /** The folder of the container's sockets, already published. The run does not dispose of it. */
  folder: SocketFolder;
  /** If true, no process of the container runs: the guest only gives access to its files. */
  noCommand?: boolean | undefined;
  /** Of its processes, the first and those of `exec`. */
  secrets?: Secrets | undefined;
  /** The proxy of the secrets' placeholders. */
  egress?: EgressPort | undefined;
  /** If false, the container has no network, whatever its spec asks for. Default true. */
  online?: boolean | undefined;
  /** The disk of the writable layer, made if missing. Without it the layer is in memory. */
  layer?: Layer | undefined;
  /** The saved machine that the run continues. */
  saved?: SavedSource | undefined;
  home: Home;
  /** A machine process that was started in advance. The run owns it from now on. */
  machine?: MachineClient | undefined;
  log?: Log | undefined;
  trace?: Trace | undefined;
  /** Called if the accelerator is `auto` and the machine is not on KVM. */
  onFallback?: ((fallback: Fallback) => void) | undefined;
  /**
   * Called with how many CPUs are emulated, if several are: one may run what another has changed.
   */
  onEmulatedCpus?: ((cpus: number) => void) | undefined;
  /** The private networks of the container. */
  networks?: ContainerNetworks | undefined;
  /** Called with the reason if an optional network failed to come up. */
  onNoNetwork?: ((reason: string) => void) | undefined;
  /** Called for each connection that the network policy refuses. Default: logs it at `info`. */
  onRefusal?: ((refusal: Refusal) => void) | undefined;
  /**
   * Called with the path of the machine's cgroup before it is made, and without one once there is
   * none.
   */
  onCgroup?: ((path: string | undefined) => void) | undefined;
  /** Called when the guest lets a deadline pass, and when it answers again. */
  onSuspect?: ((suspect: boolean) => void) | undefined;
  /** Level of the machine process's log, which goes to `io.stderr`. Default `warn`. */
  machineLog?: MachineSpec['logLevel'] | undefined;
}

export interface ExitStatus {
  /** As Docker's: the exit code of the process, 128+n if signal n ended it, 124 after a timeout. */
  code: number;
  /** The signal that ended the process. */
  signal?: number;
  /** True if the guest's kernel killed the process for lack of memory. */
  oomKilled: boolean;
}
