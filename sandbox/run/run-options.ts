// What a run is given beside the container's configuration and streams, and how it ends.
import type { Image } from '../../images/index.js';
import type { MachineSpec, Refusal } from '../../vmm/machine.js';
import type { Home } from '../home/home.js';
import type { ContainerNetworks } from '../home/networks.js';
import type { SocketFolder } from '../home/socket-folder.js';
import type { Log } from '../log.js';
import type { MachineClient } from '../machine/machine-client.js';
import type { Trace } from './trace.js';

export interface RunOptions {
  image: Image;
  /** Published: where its sockets are. Not disposed of. */
  folder: SocketFolder;
  /** Nothing of the container is run: it is only looked at. */
  hold?: boolean | undefined;
  /** Whether it has the network that the spec asks for. Default: yes. */
  online?: boolean | undefined;
  /** Path of the disk that keeps the writable layer; made if missing. Absent: the layer ends with the run. */
  layer?: string | undefined;
  home: Home;
  /** A process that was started in advance, and is owned by the run from now on. */
  machine?: MachineClient | undefined;
  log?: Log | undefined;
  trace?: Trace | undefined;
  /** Told why the machine is emulated, where the spec's accelerator is `auto`. */
  onFallback?: ((reason: string) => void) | undefined;
  /** The private networks that it is in. */
  networks?: ContainerNetworks | undefined;
  /** Told why the container has no network, where none was asked for. */
  onNoNetwork?: ((reason: string) => void) | undefined;
  /** Told of each destination that the container may not reach and tried to. Default: the log, at `info`. */
  onRefusal?: ((refusal: Refusal) => void) | undefined;
  /** The machine process's log; what it writes goes to `io.stderr`. Default `warn`. */
  machineLog?: MachineSpec['logLevel'] | undefined;
}

export interface ExitStatus {
  /** As Docker's: the process's own, 128+n when signal n ended it, 124 when its time was over. */
  code: number;
  /** The signal that ended the process. */
  signal?: number;
  /** The guest had no memory left for the process. */
  oomKilled: boolean;
}
