// What the guest's agent is asked for to run a container: the machine's set-up, the container, and its first process
// (guest-agent/PROTOCOL.md).
import type { ContainerSetup, MachineSetup, ProcessSpec, TerminalSize } from '../agent/protocol.js';
import type { ContainerConfig } from '../home/container-record.js';
import { cgroupLimits, processLimits, resolveSysctls } from '../spec/limits.js';
import { hostNames } from '../spec/network.js';
import type { RunSpec } from '../spec/run-spec.js';
import type { NetworkPlan } from './network-plan.js';
import type { Share } from './shares.js';

/** What the requests say besides the container's configuration. */
export interface StartParts {
  /** The host's name for the first process. */
  process: number;
  /** Whether the machine has a disk for the writable layer. */
  layer: boolean;
  /** Those of the machine, in its order. */
  shares: readonly Share[];
  /** Absent: there is only the loopback interface. */
  network?: NetworkPlan | undefined;
  /** Nothing runs in the container: it is only looked at. */
  hold?: boolean | undefined;
  /** Of the process's terminal; absent: not known. */
  terminalSize?: TerminalSize | undefined;
}

/** The agent's name for the container: the only one of its machine. */
const CONTAINER = 1;

/** What the agent is asked for, in this order. */
export interface StartRequests {
  machine: MachineSetup;
  container: ContainerSetup;
  process: ProcessSpec;
}

/** The requests for a container, once it is known what its machine has. */
export function startRequests(config: ContainerConfig, parts: StartParts): StartRequests {
  const { spec, hostname, argv, env, cwd, user } = config;
  const { network, shares } = parts;
  return {
    machine: { network: network?.guest, shares: shares.length > 0 },
    container: {
      id: CONTAINER,
      hostname,
      root: { device: '/dev/vda', scratch: parts.layer ? '/dev/vdb' : undefined, readonly: spec.readOnly },
      tmpfs: spec.tmpfs && [...spec.tmpfs],
      shares: shares.map(({ guest }, index) => ({ index, ...guest })),
      hosts: hostsFile(spec, hostname, network),
      // Without a network, a resolver fails at once when it is asked.
      resolvConf: network?.resolvConf ?? '',
      shmSize: spec.shmSize,
      limits: cgroupLimits(spec),
      sysctls: resolveSysctls(spec.sysctls),
      privileged: spec.privileged,
      init: spec.init,
    },
    process: parts.hold
      ? { id: parts.process, argv: ['hold'], tool: true }
      : {
          id: parts.process,
          ...{ argv, env, cwd, user },
          ...processLimits(spec),
          terminal: spec.terminal ? (parts.terminalSize ?? { columns: 0, rows: 0 }) : undefined,
          stdin: spec.stdin,
        },
  };
}

/** /etc/hosts as Docker's; a container without a network has its own name on the loopback interface. */
function hostsFile(spec: RunSpec, hostname: string, network?: NetworkPlan): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...hostNames(spec.network ?? {}, network?.gateway ?? '127.0.0.1').map(({ name, address }) => `${address}\t${name}`),
    `${network?.address ?? '127.0.1.1'}\t${hostname}`,
    '',
  ].join('\n');
}
