// What processes take of the host's memory: proc(5), /proc/PID/smaps and status.
import { readdirSync, readFileSync } from 'node:fs';

const MIB_OF_KIB = 1 / 1024;

export interface MemoryUse {
  /** Proportional set size, MiB: shared pages count in parts. */
  pss: number;
  /** Of these, the guest's own memory. */
  guestPss: number;
  /** Peak resident set size, MiB, the guest's memory among it. */
  peakRss: number;
}

/** Guest memory is a memfd in all that is measured here. */
const GUEST_MAPPING = /\/memfd:/;

/** The memory of process `pid`. */
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

/** The children of process `pid`. */
export function childrenOf(pid: number): number[] {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return processes.map(Number).filter((process) => parentOf(process) === pid);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
  } catch {
    // It ended since it was listed.
    return undefined;
  }
}
