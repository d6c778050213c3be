// The record of a container: its configuration, written once, and its state, written at each
// change.
import { readFileSync } from 'node:fs';
import type { Accelerator, PublishedPorts } from '../../vmm/machine.js';
import type { JailReport } from '../jail-report.js';
import type { ContainerSpec } from '../spec/container-spec.js';
import type { HealthCheck } from '../spec/health.js';

/** Written when the container is created, and never changed. */
export interface ContainerConfig {
  /** 64 hexadecimal digits. */
  id: string;
  /** RFC 3339. */
  created: string;
  /** The image ID, `sha256:<hex>`. */
  image: string;
  spec: ContainerSpec;
  hostname: string;
  /**
   * Arguments of the first process, from the image and the spec. So are `env`, `cwd` and `user`.
   */
  argv: string[];
  env: string[];
  cwd: string;
  user: string;
  /** Labels of the image and of the caller. */
  labels: Record<string, string>;
  /** The signal that `stop` sends, 1 to 64. */
  stopSignal: number;
  /**
   * Milliseconds between the stop signal and SIGKILL. Absent in records of older builds: see
   * `stopTimeoutOf`.
   */
  stopTimeout?: number;
  /** Ports that the image or the caller exposes: `80/tcp`. */
  exposed?: string[];
  /** Absent: none, and in records of older builds. */
  health?: HealthCheck;
}

/** Milliseconds between a container's stop signal and SIGKILL. */
export function stopTimeoutOf({ stopTimeout, spec }: ContainerConfig): number {
  // The spec in a record of an older build has seconds.
  return stopTimeout ?? (spec.stopTimeout ?? 10) * 1000;
}

/** Returns true if the writable layer is a disk. Nothing can be written to a read-only root. */
export function hasLayerDisk({ spec }: ContainerConfig): boolean {
  return !spec.readOnly && spec.disk !== 'memory';
}

export const STATUSES = ['created', 'running', 'paused', 'suspended', 'restarting', 'exited'] as const;
export type ContainerStatus = (typeof STATUSES)[number];

export type HealthStatus = 'starting' | 'healthy' | 'unhealthy';
export const HEALTH_STATUSES: readonly HealthStatus[] = ['starting', 'healthy', 'unhealthy'];

/** The end of one health check. */
export interface HealthResult {
  /** RFC 3339. */
  start: string;
  end: string;
  /** Of its process. -1 if that could not be started, or was killed at its timeout. */
  exitCode: number;
  /** The first bytes of its stdout and stderr, or why there are none. The guest wrote it. */
  output: string;
}

/** What the health checks of a container have found since it was started. */
export interface Health {
  status: HealthStatus;
  /** The number of failures since the last success. */
  failingStreak: number;
  /** The last results, oldest first. */
  log: readonly HealthResult[];
}

export interface ContainerState {
  status: ContainerStatus;
  /** The exit code that `docker run` would have. */
  exitCode: number;
  oomKilled: boolean;
  /** Why the container did not start, or how it was lost. */
  error?: string;
  /** RFC 3339. */
  startedAt?: string;
  finishedAt?: string;
  /** The number of restarts by the restart policy. */
  restartCount: number;
  /** The supervisor process, while it is alive. */
  supervisorPid?: number;
  /**
   * The boot ID of the host (random(4)) when `supervisorPid` was written. A home may be shared with
   * another machine.
   */
  bootId?: string;
  /** The machine process. Absent in old records. */
  pid?: number;
  /** The leader of its process group: the launcher of its jail, or itself. */
  machinePid?: number;
  /** QEMU, if it is emulated: the launcher of its jail. */
  companionPid?: number;
  /** What runs its machine. Absent while there is none, and in old records. */
  accelerator?: Accelerator;
  /** Why that is not KVM, if no machine was asked for. */
  acceleratorReason?: string;
  /** Path of the cgroup of its machine: also after the supervisor was killed. */
  cgroup?: string;
  /** Path of the cgroup of its supervisor, likewise. */
  supervisorCgroup?: string;
  /** What its machine is jailed by. Absent: nothing. */
  jail?: JailReport;
  /** The supervisor was killed. Set when the state is read; the next one writes it before it begins. */
  isOrphaned?: true;
  /** The supervisor only gives access to files, or did when it was killed: it begins no process. */
  filesOnly?: true;
  /** The guest has let the deadline of a request pass, and has not answered since. */
  unresponsive?: true;
  /** Absent without health checks, and before the first start. It stays when the container ends. */
  health?: Health;
  /** Its IPv4 address. */
  address?: string;
  /** Published ports, with the host ports in use. */
  ports?: readonly PublishedPorts[];
  /** Path of its socket folder. */
  sockets?: string;
}

export const CREATED: ContainerState = { status: 'created', exitCode: 0, oomKilled: false, restartCount: 0 };

/** Docker's exit code for a container whose end was not observed. */
const ORPHANED = 255;

/** The state of a container whose record says that it is alive, but whose supervisor is dead. */
export function orphaned(state: ContainerState): ContainerState {
  const {
    supervisorPid,
    pid,
    machinePid,
    companionPid,
    accelerator,
    acceleratorReason,
    jail,
    sockets,
    unresponsive,
    ...kept
  } = state;
  const rest = { ...kept, isOrphaned: true as const };
  if (state.status === 'created' || state.status === 'exited') return rest;
  return { ...rest, status: 'exited', exitCode: ORPHANED, error: 'the process that supervised it was killed' };
}

/** The state of a container whose machine lies on the disk, whatever its record says. */
export function suspended({ isOrphaned, error, ...state }: ContainerState): ContainerState {
  return { ...state, status: 'suspended', exitCode: 0 };
}

/** The health of a container. As in Docker, one that has ended is unhealthy. */
export function healthStatus({ health, ...state }: ContainerState): HealthStatus | 'none' {
  if (health === undefined) return 'none';
  return isRunning(state) || state.status === 'suspended' ? health.status : 'unhealthy';
}

/** Returns true if the container has a process, paused or not. */
export function isRunning({ status }: Pick<ContainerState, 'status'>): boolean {
  return status === 'running' || status === 'paused';
}

/**
 * Returns true if the container has `--rm` and its supervisor was killed before it could remove it.
 * @param state as `ContainerFolder.state` returns it
 */
export function isStale({ spec }: ContainerConfig, { isOrphaned, bootId: boot }: ContainerState): boolean {
  // A container from before a restart of the host stays visible, and is removed by hand.
  return spec.autoRemove === true && isOrphaned === true && boot === bootId();
}

/** Identifies the current boot of the host. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
