// What the launcher of a jail reports.
import { SandboxError } from './errors.js';

/** What keeps a part of the host from a machine process; null: nothing. */
export type JailMeans = 'namespace' | 'landlock' | null;

/** The parts of a jail, and what reaches each. Closed descriptors and an empty environment go without saying. */
export interface JailReport {
  /** Files of the host. */
  files: JailMeans;
  /** Its network: connections by TCP, and with a namespace everything. */
  network: JailMeans;
  /** Signals to its processes; with a namespace, they cannot be seen either. */
  processes: JailMeans;
  /** Its abstract unix sockets. */
  sockets: JailMeans;
  /** System V IPC and POSIX message queues. */
  ipc: JailMeans;
  /** True if the namespaces are in a user namespace. */
  user: boolean;
  /** User ID of the program, on the host. Root's jails each have their own; 0: root. */
  uid?: number;
  /** Why a jail of root's has no user of its own. */
  noUser?: string;
  /** Version of landlock's interface; 0: the kernel has none. */
  landlock: number;
  /**
   * What a system call leads to that the process does not need. Absent: the machine was not told to
   * boot.
   */
  seccomp?: 'kill' | 'refuse' | 'log' | 'off';
  /** Of QEMU, or of the kernel of User-Mode Linux, in a jail of its own. Absent: there is neither. */
  companion?: JailReport;
  /** Why there are no namespaces. */
  noNamespaces?: string;
  noLandlock?: string;
}

export const JAIL_PARTS = ['files', 'network', 'processes', 'sockets', 'ipc'] as const;

/**
 * What the jail lacks, in words; undefined if it lacks nothing.
 * @param companion the name of the companion, if the machine has one
 */
export function whatIsMissing(report: JailReport | undefined, companion: string): string | undefined {
  if (report === undefined) return 'there is no jail';
  const missing = withoutUser(report) ?? withoutNamespaces(report);
  if (missing !== undefined) return missing;
  if (report.seccomp !== 'kill') return 'no filter of system calls ends the machine process';
  if (report.companion === undefined) return undefined;
  const lacking = withoutUser(report.companion) ?? withoutNamespaces(report.companion);
  if (lacking !== undefined) return `${companion}: ${lacking}`;
  return report.companion.seccomp === 'refuse' ? undefined : `no filter of system calls confines ${companion}`;
}

function withoutUser({ uid, noUser = 'unknown' }: JailReport): string | undefined {
  return uid === 0 ? `no user of its own (${noUser})` : undefined;
}

function withoutNamespaces(report: JailReport): string | undefined {
  const missing = JAIL_PARTS.filter((part) => report[part] !== 'namespace');
  if (missing.length === 0) return undefined;
  return `no namespaces for ${missing.join(', ')} (${report.noNamespaces ?? 'unknown'})`;
}

/** What the launcher reports, and the process ID of the program that it starts. */
export interface LauncherReport {
  pid: number;
  jail: JailReport;
}

/** @throws SandboxError `machine-died` for a line that is no report */
export function parseJailReport(line: string): LauncherReport {
  const value: unknown = JSON.parse(line);
  if (typeof value === 'object' && value !== null && 'pid' in value && JAIL_PARTS.every((part) => part in value)) {
    const { pid, ...jail } = value as JailReport & { pid: number };
    return { pid, jail };
  }
  throw new SandboxError('machine-died', 'the launcher of the jail cannot be understood');
}
