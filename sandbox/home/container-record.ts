// What is written down of a container: its configuration, once, and its state, each time it changes.
import { readFileSync } from 'node:fs';
import type { PublishedPorts } from '../../vmm/machine.js';
import type { ContainerSpec } from '../spec/container-spec.js';

/** Written when the container is made, and never again. */
export interface ContainerConfig {
  /** 64 hexadecimal digits. */
  id: string;
  /** RFC 3339. */
  created: string;
  /** The image ID, `sha256:<hex>`. */
  image: string;
  spec: ContainerSpec;
  hostname: string;
  /** The first process, as image and spec make it. */
  argv: string[];
  env: string[];
  cwd: string;
  user: string;
  /** The image's and the caller's. */
  labels: Record<string, string>;
  /** 1 to 64. */
  stopSignal: number;
  /** Milliseconds between the stop signal and SIGKILL. Absent in records of older builds: see `stopTimeoutOf`. */
  stopTimeout?: number;
  /** Ports that the image or the caller names: `80/tcp`. */
  exposed?: string[];
}

/** Milliseconds between a container's stop signal and SIGKILL. */
export function stopTimeoutOf({ stopTimeout, spec }: ContainerConfig): number {
  // The spec in a record of an older build has seconds.
  return stopTimeout ?? (spec.stopTimeout ?? 10) * 1000;
}

export const STATUSES = ['created', 'running', 'paused', 'restarting', 'exited'] as const;
export type ContainerStatus = (typeof STATUSES)[number];

export interface ContainerState {
  status: ContainerStatus;
  /** As Docker's `docker run` would exit with. */
  exitCode: number;
  oomKilled: boolean;
  /** Why the container could not be started or was lost. */
  error?: string;
  /** RFC 3339. */
  startedAt?: string;
  finishedAt?: string;
  /** How often the restart policy has started it again. */
  restartCount: number;
  /** Of the process that supervises it, while it is alive. */
  supervisorPid?: number;
  /** Which start of the host that was (random(4), boot_id): a home may be shared with another machine. */
  bootId?: string;
  /** Of its machine. */
  machinePid?: number;
  /** Never written: whoever supervised it was killed. */
  isOrphaned?: true;
  /** Its IPv4 address. */
  address?: string;
  /** The ports of the host that lead to it, each with its address. */
  ports?: readonly PublishedPorts[];
  /** The folder of its sockets. */
  sockets?: string;
}

export const CREATED: ContainerState = { status: 'created', exitCode: 0, oomKilled: false, restartCount: 0 };

/** Docker's exit code for a container whose end nobody saw. */
const ORPHANED = 255;

/** What became of a container whose state says that it is alive, and whose supervisor is dead. */
export function orphaned(state: ContainerState): ContainerState {
  const { supervisorPid, machinePid, sockets, ...kept } = state;
  const rest = { ...kept, isOrphaned: true as const };
  if (state.status === 'created' || state.status === 'exited') return rest;
  return { ...rest, status: 'exited', exitCode: ORPHANED, error: 'the process that supervised it was killed' };
}

/** Whether there is a process in it, which may be paused. */
export function isRunning({ status }: ContainerState): boolean {
  return status === 'running' || status === 'paused';
}

/** Whether it was to be removed when it ended, and its supervisor was killed. Its state as read: `ContainerFolder.state`. */
export function isStale({ spec }: ContainerConfig, { isOrphaned, bootId: boot }: ContainerState): boolean {
  // What ran before the host went down is left to be seen, and to be removed by hand.
  return spec.autoRemove === true && isOrphaned === true && boot === bootId();
}

/** Names this start of the host. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
