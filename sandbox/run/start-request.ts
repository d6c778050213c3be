// The requests to the guest's agent that start a container: machine, container, first process
// (guest-agent/PROTOCOL.md).
import type { ContainerSetup, MachineSetup, ProcessSpec, TerminalSize } from '../agent/protocol.js';
import type { ContainerConfig } from '../home/container-record.js';
import { deviceSpecs } from '../spec/devices.js';
import { cgroupLimits, processLimits, resolveSysctls } from '../spec/limits.js';
import { hostNames } from '../spec/network.js';
import { mergeEnvironment } from '../spec/process-spec.js';
import type { RunSpec } from '../spec/run-spec.js';
import type { Secrets } from '../spec/secrets.js';
import type { NetworkPlan } from './network-plan.js';
import type { Share } from './shares.js';

/** What the requests depend on besides the container's configuration. */
export interface StartParts {
  /** The id that the host gives the first process. */
  process: number;
  /** True if the machine has a disk for the writable layer. */
  layer: boolean;
  /** The machine's shares, in its order. */
  shares: readonly Share[];
  /** If undefined, the guest has only the loopback interface. */
  network?: NetworkPlan | undefined;
  /** If true, no process of the container runs: the guest only gives access to its files. */
  noCommand?: boolean | undefined;
  secrets?: Secrets | undefined;
  /** Size of the process's terminal, if known. */
  terminalSize?: TerminalSize | undefined;
}

/** The agent's id of the container, the only one in its machine. */
const CONTAINER = 1;

/** The requests, in the order in which they are sent. */
export interface StartRequests {
  machine: MachineSetup;
  container: ContainerSetup;
  process: ProcessSpec;
}

/** The requests for a container. Called when it is known whether the machine's network is up. */
export function startRequests(config: ContainerConfig, parts: StartParts): StartRequests {
  const { spec, hostname, argv, env, cwd, user } = config;
  const { network, shares, secrets = {} } = parts;
  return {
    machine: { network: network?.guest, shares: shares.length > 0 },
    container: {
      id: CONTAINER,
      hostname,
      root: { device: '/dev/vda', scratch: parts.layer ? '/dev/vdb' : undefined, readonly: spec.readOnly },
      tmpfs: spec.tmpfs && [...spec.tmpfs],
      shares: shares.map(({ target, readOnly }, index) => ({ index, path: target, readonly: readOnly })),
      hosts: hostsFile(spec, hostname, network),
      // Without a network, a resolver fails at once when it is asked.
      resolvConf: network?.resolvConf ?? '',
      shmSize: spec.shmSize,
      limits: cgroupLimits(spec),
      sysctls: resolveSysctls(spec.sysctls),
      privileged: spec.privileged,
      init: spec.init,
      devices: deviceSpecs(spec.devices),
      secrets: Object.entries(secrets.files ?? {}).map(([name, contents]) => ({ name, contents })),
    },
    process: parts.noCommand
      ? { id: parts.process, argv: ['hold'], tool: true }
      : {
          id: parts.process,
          ...{ argv, env: mergeEnvironment(env, secrets.env), cwd, user },
          ...processLimits(spec),
          terminal: spec.terminal ? (parts.terminalSize ?? { columns: 0, rows: 0 }) : undefined,
          stdin: spec.stdin,
        },
  };
}

/**
 * /etc/hosts as Docker writes it. Without a network, the container's name has a loopback address.
 */
function hostsFile(spec: RunSpec, hostname: string, network?: NetworkPlan): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...hostNames(spec.network ?? {}, network?.gateway ?? '127.0.0.1').map(({ name, address }) => `${address}\t${name}`),
    ...(network?.hosts ?? []).map(({ name, address }) => `${address}\t${name}`),
    `${network?.address ?? '127.0.1.1'}\t${hostname}`,
    '',
  ].join('\n');
}
