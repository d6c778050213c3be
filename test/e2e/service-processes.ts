// The processes of a service's machines, as /proc shows them, whatever the service says of them.
import { readFileSync, readlinkSync } from 'node:fs';
import { list } from './own-home.js';

/** What machines hold. */
export interface Held {
  machines: number;
  /** Bytes. */
  memory: number;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // The process has just ended.
    return '';
  }
}

const parentOf = (pid: number) => Number(/^PPid:\s+(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);

const pids = () => list('/proc').filter((name) => /^\d+$/.test(name));

/** Paths that a process has open. */
function openPaths(pid: number | string): string[] {
  return list(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
}

/**
 * What the machines of each tenant hold, by the command lines of the kernels of User-Mode Linux.
 */
export function heldByProcesses(data: string): Map<string, Held> {
  const found = new Map<string, Held>();
  for (const pid of pids()) {
    const [, memory] = /^[^\0]*\0mem=(\d+)\0/.exec(read(`/proc/${pid}/cmdline`)) ?? [];
    const launcher = parentOf(Number(pid));
    // The kernel's programs have its command line too.
    if (memory === undefined || !read(`/proc/${launcher}/cmdline`).includes('tsvm-jail\0')) continue;
    const path = openPaths(parentOf(launcher)).find((each) => each.startsWith(`${data}/tenants/`));
    const tenant = path?.slice(`${data}/tenants/`.length).split('/')[0];
    if (tenant === undefined) continue;
    const { machines, memory: before } = found.get(tenant) ?? { machines: 0, memory: 0 };
    found.set(tenant, { machines: machines + 1, memory: before + Number(memory) });
  }
  return found;
}

/** Command lines of the processes that have a file of a data folder open. */
export function usersOf(data: string): string[] {
  const users = pids().filter((pid) => openPaths(pid).some((path) => path.startsWith(`${data}/`)));
  return users.map((pid) => read(`/proc/${pid}/cmdline`).replaceAll('\0', ' '));
}

/** The processes of a machine that are not its guest's programs, by what they are. */
export function rolesOf(supervisor: number): Map<string, number[]> {
  const roles = new Map<string, number[]>([['supervisor', [supervisor]]]);
  const add = (role: string, pid: number) => roles.set(role, [...(roles.get(role) ?? []), pid]);
  const all = pids().map((name) => ({ pid: Number(name), parent: parentOf(Number(name)) }));
  for (const launcher of all.filter(({ parent }) => parent === supervisor)) {
    if (!read(`/proc/${launcher.pid}/cmdline`).includes('tsvm-jail\0')) continue;
    add('launcher', launcher.pid);
    for (const { pid } of all.filter(({ parent }) => parent === launcher.pid)) {
      add(read(`/proc/${pid}/cmdline`).includes('machine.cjs') ? 'machine' : 'kernel', pid);
    }
  }
  return roles;
}
