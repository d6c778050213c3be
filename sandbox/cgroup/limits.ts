// The limits of a machine's cgroup, from what its container may use, and those of its supervisor.

const MIB = 2 ** 20;

/** Bytes beside the memory of the guest: the machine process, and its page cache. */
const OVERHEAD = 256 * MIB;
/** Bytes of QEMU, most of them a buffer of translated code (vmm/accel/qemu.ts). */
const EMULATOR = 384 * MIB;
/** Page tables, and the page cache of disks, grow with the guest. */
const OVERHEAD_SHARE = 1 / 8;

/** Microseconds: the kernel's default, and Docker's. */
const CPU_PERIOD = 100_000;
/** CPUs beside those of the guest: one thread serves the devices. */
const DEVICE_CPUS = 1;
/** The kernel's weight of a cgroup, here of one with one CPU, and its range. */
const CPU_WEIGHT = 100;
const MAX_CPU_WEIGHT = 10_000;

/** Threads of Node.js and QEMU without those of the guest's CPUs: 17 were seen. */
const THREADS = 64;
/** Each CPU has a worker of Node.js or a thread of QEMU. */
const THREADS_PER_CPU = 4;
/** Of User-Mode Linux: each process of the guest is one of the host's. */
export const UML_PROCESSES = 4096;

/** The most processes and threads of QEMU, or of a machine process and QEMU together. */
export const threadsOf = (cpus: number): number => THREADS + THREADS_PER_CPU * Math.ceil(cpus);

/** What a container may use. */
export interface MachineSize {
  /** Bytes of the guest. */
  memory: number;
  /** May be a fraction. */
  cpus: number;
  /** `auto`: any of the others. */
  accel: 'auto' | 'kvm' | 'tcg' | 'uml';
  /** Lines of `io.max`. */
  io?: readonly string[];
}

export interface CgroupLimits {
  /** Bytes. */
  memory: number;
  /** Bytes of swap, beside `memory`. */
  swap: number;
  /** Microseconds of CPU time in each `cpuPeriod`. */
  cpuQuota: number;
  cpuPeriod: number;
  /** Share of the host's CPUs while they do not suffice for all. */
  cpuWeight: number;
  /** Processes and threads. */
  pids: number;
  /** Lines of `io.max`, one for each disk of the host. */
  io: readonly string[];
}

export function cgroupLimits({ memory, cpus, accel, io = [] }: MachineSize): CgroupLimits {
  const overhead = OVERHEAD + memory * OVERHEAD_SHARE + (accel === 'kvm' ? 0 : EMULATOR);
  return {
    memory: Math.ceil(memory + overhead),
    // As Docker: as much swap as memory.
    swap: memory,
    cpuQuota: Math.round((cpus + DEVICE_CPUS) * CPU_PERIOD),
    cpuPeriod: CPU_PERIOD,
    cpuWeight: Math.min(Math.max(Math.round(cpus * CPU_WEIGHT), 1), MAX_CPU_WEIGHT),
    pids: threadsOf(cpus) + (accel === 'uml' || accel === 'auto' ? UML_PROCESSES : 0),
    io,
  };
}

/**
 * The limits of the process that supervises a container in the background. What a guest makes it do
 * (output, connections, requests, frames of the agent) is bounded by these.
 */
export const SUPERVISOR_LIMITS: CgroupLimits = {
  // Of 160 MiB at most, beside a machine process that it has just started, and its log's page cache.
  memory: 512 * MIB,
  swap: 512 * MIB,
  // Output at the highest rate of the log, or 2000 connections in a second, take less.
  cpuQuota: CPU_PERIOD / 2,
  cpuPeriod: CPU_PERIOD,
  cpuWeight: CPU_WEIGHT / 2,
  // Programs that it starts for the next machine are its own until they are put into that one's.
  pids: 2 * THREADS,
  io: [],
};

/** The files of a cgroup with what is written to them. */
export function limitFiles({
  memory,
  swap,
  cpuQuota,
  cpuPeriod,
  cpuWeight,
  pids,
  io,
}: CgroupLimits): [file: string, value: string][] {
  return [
    ['memory.max', String(memory)],
    ['memory.swap.max', String(swap)],
    // A machine that lost one of its processes is of no use.
    ['memory.oom.group', '1'],
    ['cpu.max', `${cpuQuota} ${cpuPeriod}`],
    ['cpu.weight', String(cpuWeight)],
    ['pids.max', String(pids)],
    ...io.map((line): [string, string] => ['io.max', line]),
    // So it can be removed once its processes have ended.
    ['cgroup.max.descendants', '0'],
  ];
}
