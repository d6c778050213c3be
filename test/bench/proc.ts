// The host memory of processes: proc(5), /proc/PID/smaps and status.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { descendantsOf, parentOf } from '../../compare/memory.js';
import { CLI } from './paths.js';

export { descendantsOf, parentOf };

const MIB_OF_KIB = 1 / 1024;

export interface MemoryUse {
  /** Proportional set size in `MiB`: a shared page counts in part for each process. */
  pss: number;
  /** The part of `pss` that is guest memory, in `MiB`. */
  guestPss: number;
  /** Peak resident set size in `MiB`, including guest memory. */
  peakRss: number;
}

/** In every VMM measured here, guest memory is a memfd. */
const GUEST_MAPPING = /\/memfd:/;

/** Returns the memory of process `pid`. */
export function memoryUse(pid: number): MemoryUse {
  let guest = false;
  const use = { pss: 0, guestPss: 0, peakRss: 0 };
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) guest = GUEST_MAPPING.test(line);
    const pss = /^Pss:\s+(\d+) kB/.exec(line);
    if (pss === null) continue;
    use.pss += Number(pss[1]) * MIB_OF_KIB;
    if (guest) use.guestPss += Number(pss[1]) * MIB_OF_KIB;
  }
  const peak = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
  use.peakRss = Number(peak?.[1]) * MIB_OF_KIB;
  return use;
}

/**
 * Returns the host memory that the guest memory of machine process `pid` takes, in `MiB`: the
 * blocks of its memfd.
 */
export function guestResident(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  const memory = readdirSync(folder).find((fd) => readLink(`${folder}/${fd}`).startsWith('/memfd:tsvm-guest-memory'));
  if (memory === undefined) throw new Error(`process ${pid} has no guest memory`);
  return (statSync(`${folder}/${memory}`).blocks * 512) / 2 ** 20;
}

/** The page size of x86-64, in KiB. */
const PAGE = 4;

/** Returns how many pages of saved memory machine process `pid`, which continues it, has copied. */
export function copiedPages(pid: number): number {
  let [isMemory, found, pages] = [false, false, 0];
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) {
      isMemory = /\/memory$/.test(line);
      found ||= isMemory;
    }
    const copied = /^Anonymous:\s+(\d+) kB/.exec(line);
    if (isMemory && copied !== null) pages += Number(copied[1]) / PAGE;
  }
  if (!found) throw new Error(`process ${pid} does not continue a saved machine`);
  return pages;
}

/** Returns the pid of the machine process of a container. */
export function pidOfMachine(container: string, env?: NodeJS.ProcessEnv): number {
  return Number(execFileSync(CLI, ['inspect', '-f', '{{.State.Pid}}', container], { encoding: 'utf8', env }));
}

/** Returns the memory of the processes of a container in the background, its supervisor's first. */
export function containerUse(machine: number): MemoryUse[] {
  // Between the two is the launcher of the jail.
  const supervisor = parentOf(parentOf(machine));
  return [supervisor, ...descendantsOf(supervisor)].map(memoryUse);
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // The descriptor was closed after it was listed.
    return '';
  }
}

/** Returns the CPU time of process `pid` in milliseconds, of all its threads. */
export function cpuTime(pid: number): number {
  // The second field, a name, may contain anything. Ticks are 10 ms on each Linux.
  const fields = read(pid, 'stat')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Returns the pid of the machine process that process `pid` started, by a launcher or itself. */
export function machineOf(pid: number): number | undefined {
  return descendantsOf(pid).find((each) => read(each, 'cmdline').split('\0')[1]?.endsWith('/machine.cjs'));
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    // The process ended after it was listed.
    return '';
  }
}
