// A container as `docker inspect` describes it, in its words and units, as far as tsvm has the
// fields.
import { constants } from 'node:os';
import type { ContainerFolder } from '../home/container-folder.js';
import {
  type ContainerConfig,
  type ContainerState,
  healthStatus,
  isRunning,
  stopTimeoutOf,
} from '../home/container-record.js';
import type { Home } from '../home/home.js';
import { DEFAULT_LOG_LIMITS } from '../home/log-file.js';
import { shownMemberships } from '../home/networks.js';
import type { Mount } from '../spec/mounts.js';
import { isNetworkName, networkMode } from '../spec/network.js';
import { eachPort, formatPort, parsePublished } from '../spec/published-ports.js';
import { DEFAULT_MEMORY } from '../spec/run-spec.js';
import type { Supervised } from '../supervision/supervision.js';

/** Docker's value for a time that has not come. */
const NEVER = '0001-01-01T00:00:00Z';
const NANO = 1e9;
const NANO_OF_MILLI = 1e6;

export function describeContainer({ home, folder, config }: Supervised): object {
  const state = folder.state();
  const name = home.containers.names.of(folder.id);
  const { spec } = config;
  const { status } = state;
  const [path = '', ...args] = config.argv;
  return {
    Id: config.id,
    Created: config.created,
    Path: path,
    Args: args,
    State: {
      Status: status,
      Running: isRunning(state) || status === 'restarting',
      Paused: status === 'paused',
      Restarting: status === 'restarting',
      OOMKilled: state.oomKilled,
      Dead: false,
      Unresponsive: state.unresponsive === true,
      Pid: state.pid ?? state.machinePid ?? 0,
      Accelerator: state.accelerator ?? '',
      AcceleratorReason: state.acceleratorReason ?? '',
      Jail: state.jail ?? null,
      Cgroup: isRunning(state) ? (state.cgroup ?? '') : '',
      SupervisorCgroup: isRunning(state) ? (state.supervisorCgroup ?? '') : '',
      ExitCode: state.exitCode,
      Error: state.error ?? '',
      StartedAt: state.startedAt ?? NEVER,
      FinishedAt: state.finishedAt ?? NEVER,
      Health: describeHealth(state),
    },
    Image: config.image,
    LogPath: folder.log,
    Name: `/${name ?? ''}`,
    RestartCount: state.restartCount,
    Platform: 'linux',
    HostConfig: {
      AutoRemove: spec.autoRemove === true,
      Memory: spec.memory ?? DEFAULT_MEMORY,
      NanoCpus: (spec.cpus ?? 1) * NANO,
      PidsLimit: spec.pidsLimit ?? null,
      NetworkMode: networkMode(spec.network),
      PortBindings: portBindings(spec.network?.publish ?? []),
      PublishAllPorts: spec.network?.publishAll === true,
      Dns: spec.network?.dns ?? [],
      DnsSearch: spec.network?.dnsSearch ?? [],
      DnsOptions: spec.network?.dnsOptions ?? [],
      ExtraHosts: spec.network?.hosts ?? null,
      Isolation: spec.isolation ?? '',
      Jail: spec.jail ?? '',
      CgroupParent: spec.cgroupParent ?? '',
      CapAdd: spec.capAdd ?? null,
      CapDrop: spec.capDrop ?? null,
      ReadonlyRootfs: spec.readOnly === true,
      ShmSize: spec.shmSize ?? 64 * 1024 * 1024,
      Tmpfs: Object.fromEntries((spec.tmpfs ?? []).map((mount) => [mount.path, ''])),
      RestartPolicy: { Name: spec.restart?.name ?? 'no', MaximumRetryCount: spec.restart?.maximumRetryCount ?? 0 },
      LogConfig: {
        Type: 'json-file',
        Config: {
          'max-size': String((spec.logs ?? DEFAULT_LOG_LIMITS).maxSize),
          'max-file': String((spec.logs ?? DEFAULT_LOG_LIMITS).maxFiles),
        },
      },
    },
    NetworkSettings: {
      IPAddress: isRunning(state) ? (state.address ?? '') : '',
      Ports: isRunning(state) ? hostPorts(config, state) : {},
      Networks: networks(folder, config, isRunning(state) ? (state.address ?? '') : ''),
    },
    Mounts: (spec.mounts ?? []).map((mount) => describeMount(home, mount)),
    Config: {
      Hostname: config.hostname,
      User: config.user,
      Tty: spec.terminal === true,
      OpenStdin: spec.stdin === true,
      ExposedPorts: Object.fromEntries((config.exposed ?? []).map((port) => [port, {}])),
      Env: config.env,
      Cmd: spec.command.length > 0 ? spec.command : null,
      Entrypoint: spec.entrypoint ?? null,
      Image: spec.image,
      WorkingDir: config.cwd,
      Labels: config.labels,
      StopSignal: signalName(config.stopSignal),
      StopTimeout: stopTimeoutOf(config) / 1000,
      Healthcheck: describeCheck(config),
    },
  };
}

function describeHealth(state: ContainerState): object | null {
  if (state.health === undefined) return null;
  const { failingStreak, log } = state.health;
  return {
    Status: healthStatus(state),
    FailingStreak: failingStreak,
    Log: log.map(({ start, end, exitCode, output }) => ({
      Start: start,
      End: end,
      ExitCode: exitCode,
      Output: output,
    })),
  };
}

function describeCheck({ health }: ContainerConfig): object | null {
  if (health === undefined) return null;
  return {
    Test: health.test,
    Interval: health.interval * NANO_OF_MILLI,
    Timeout: health.timeout * NANO_OF_MILLI,
    StartPeriod: health.startPeriod * NANO_OF_MILLI,
    StartInterval: health.startInterval * NANO_OF_MILLI,
    Retries: health.retries,
  };
}

function describeMount({ volumes }: Home, { type, source, target, readOnly = false }: Mount): object {
  const place = { Destination: target, Mode: '', RW: !readOnly, Propagation: type === 'bind' ? 'rprivate' : '' };
  if (type === 'bind') return { Type: type, Source: source, ...place };
  const { mountpoint = '' } = volumes.find(source) ?? {};
  return { Type: type, Name: source, Source: mountpoint, Driver: 'local', ...place };
}

/**
 * Networks by name, like Docker. A container without private networks is in the one of its mode.
 */
function networks(folder: ContainerFolder, config: ContainerConfig, address: string): Record<string, object> {
  const mode = networkMode(config.spec.network);
  const memberships = Object.entries(shownMemberships(folder, config));
  if (memberships.length === 0 && !isNetworkName(mode)) return { [mode]: { IPAddress: address, Aliases: null } };
  const endpoint = (aliases: readonly string[]) => ({
    IPAddress: address,
    Aliases: aliases.length > 0 ? aliases : null,
  });
  return Object.fromEntries(memberships.map(([name, aliases]) => [name, endpoint(aliases)]));
}

type HostPort = { HostIp: string; HostPort: string };

/** Host ports of each port of the container, like Docker; null for a port that is only exposed. */
function hostPorts(
  { exposed = [] }: ContainerConfig,
  { ports = [] }: ContainerState,
): Record<string, HostPort[] | null> {
  const found = new Map<string, HostPort[] | null>(exposed.map((port) => [port, null]));
  for (const port of eachPort(ports)) {
    const name = formatPort(port);
    found.set(name, [...(found.get(name) ?? []), { HostIp: port.address, HostPort: String(port.hostPort) }]);
  }
  return Object.fromEntries(found);
}

/** The port bindings of the spec. An empty address or port stands for any. */
function portBindings(words: readonly string[]): Record<string, HostPort[]> {
  const bindings: Record<string, HostPort[]> = {};
  for (const { protocol, address = '', host, last, guest, count } of words.map(parsePublished)) {
    for (let index = 0; index < count; index++) {
      const port = last === undefined ? String(host + index) : `${host}-${last}`;
      const name = formatPort({ protocol, port: guest + index });
      bindings[name] ??= [];
      bindings[name].push({ HostIp: address, HostPort: host === 0 ? '' : port });
    }
  }
  return bindings;
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? String(number);
}
