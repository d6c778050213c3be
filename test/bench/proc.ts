// The host memory of processes: proc(5), /proc/PID/smaps and status.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { descendantsOf, parentOf } from '../../compare/memory.js';

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
  return descendantsOf(pid).find((each) => read(each, 'cmdline').split('\0')[1]?.endsWith('/machine.js'));
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    // The process ended after it was listed.
    return '';
  }
}
