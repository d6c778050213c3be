// The limits and rights of a container: their checks, and their translation for the machine and the
// agent.
import type { DiskRates, DiskSpec } from '../../vmm/machine.js';
import {
  type BpfInstruction,
  CAPABILITIES,
  type Capability,
  type Limits,
  type ProcessSpec,
  RLIMITS,
  type Rlimit,
  type Sysctl,
} from '../agent/protocol.js';
import { SandboxError } from '../errors.js';
import { resolveCapabilities } from './capabilities.js';
import type { DeviceRate, RunSpec } from './run-spec.js';
import { compileSeccomp } from './seccomp/compile.js';
import { checkSeccompProfile } from './seccomp/profile.js';

/** The most that the guest's MP table and kernel support (vmm/machine.ts). */
export const MAX_CPUS = 64;
/** The kernel refuses a CPU quota below a millisecond. */
const MIN_CPUS = 0.01;
/** Microseconds: the kernel's default, and Docker's. */
const CPU_PERIOD = 100_000;
/** The kernel's limit of pid_max on 64-bit machines (PID_MAX_LIMIT). */
const MAX_PIDS = 2 ** 22;

/** Stands for all mounted folders and volumes in place of a device. */
const SHARES = 'shares';

const MIN_DISK = 16 * 2 ** 20;
/** Bytes that ext4's 32-bit block numbers address. */
const MAX_DISK = 16 * 2 ** 40;

/**
 * systemd's limits for services, which containers have elsewhere too. The kernel's default hard
 * limit of 4096 is too low for a database. A soft limit of a million slows programs that close
 * every possible descriptor.
 */
const DEFAULT_RLIMITS: readonly Rlimit[] = [{ name: 'nofile', soft: 1024, hard: 524_288 }];

function refuse(message: string): never {
  throw new SandboxError('bad-spec', message);
}

/**
 * Checks the limits and rights of a spec.
 * @throws SandboxError `bad-spec`
 */
export function checkLimits(spec: RunSpec): void {
  const { cpus = 1, disk = MIN_DISK, pidsLimit = 0, shmSize = 1, ulimits = [], groupAdd = [] } = spec;
  if (!(cpus >= MIN_CPUS && cpus <= MAX_CPUS)) {
    refuse(`invalid number of CPUs ${cpus}: ${MIN_CPUS} to ${MAX_CPUS} are possible`);
  }
  if (disk !== 'memory' && !(Number.isSafeInteger(disk) && disk >= MIN_DISK && disk <= MAX_DISK)) {
    refuse('invalid disk size: must be 16MB to 16TB');
  }
  if (!Number.isInteger(pidsLimit) || pidsLimit < -1 || pidsLimit > MAX_PIDS) {
    refuse(`invalid pids limit ${pidsLimit}: 1 to ${MAX_PIDS} processes, or -1 for no limit`);
  }
  if (!Number.isSafeInteger(shmSize) || shmSize < 1)
    refuse(`invalid size ${shmSize} of /dev/shm: more than 0 is needed`);
  for (const ulimit of ulimits) checkUlimit(ulimit);
  const group = groupAdd.find((name) => name === '' || name.includes('\0') || Buffer.byteLength(name) > 255);
  if (group !== undefined) refuse(`invalid group '${group}': a name or a number is needed`);
  resolveCapabilities(spec.capAdd, spec.capDrop);
  resolveSysctls(spec.sysctls);
  const slow = spec.deviceRates?.find(({ rate }) => !(Number.isSafeInteger(rate) && rate >= 1));
  if (slow !== undefined) refuse(`invalid rate ${slow.rate} of a device: at least 1 in a second is needed`);
  if (spec.seccomp !== undefined) checkSeccompProfile(spec.seccomp);
}

function checkUlimit({ name, soft, hard }: Rlimit): void {
  if (!RLIMITS.includes(name)) refuse(`invalid ulimit type '${name}'`);
  for (const value of [soft, hard]) {
    if (value !== 'unlimited' && !(Number.isSafeInteger(value) && value >= 0)) {
      refuse(`invalid ulimit ${name}: ${value} is not a number from 0 on`);
    }
  }
  if (hard !== 'unlimited' && (soft === 'unlimited' || soft > hard)) {
    refuse(`invalid ulimit ${name}: the soft limit ${soft} is above the hard limit ${hard}`);
  }
}

/**
 * Kernel parameters as files below /proc/sys. Names are read as by sysctl(8): the first dot or
 * slash decides which of the two separates; the other one is then part of a word, as in
 * `net.ipv4.conf.eth0/1.forwarding`.
 *
 * @throws SandboxError `bad-spec` for an invalid name or value
 */
export function resolveSysctls(sysctls: RunSpec['sysctls'] = {}): Sysctl[] {
  return Object.entries(sysctls).map(([name, value]) => {
    const isDotted = /^[^/]*\./.test(name);
    const swapped = name.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
    const path = isDotted ? swapped : name;
    const words = path.split('/');
    if (
      words.length < 2 ||
      path.length > 255 ||
      words.some((word) => !/^[\w.:@-]+$/.test(word) || /^\.+$/.test(word))
    ) {
      refuse(`invalid sysctl '${name}': a name such as net.ipv4.ip_forward is needed`);
    }
    if (value.includes('\0') || Buffer.byteLength(value) > 4095) refuse(`invalid value of sysctl '${name}'`);
    return { path, value };
  });
}

/** The rates of mounted folders and volumes. They also have those of all disks. */
export function shareRates({ deviceRates = [] }: RunSpec): DiskRates | undefined {
  return ratesOf(deviceRates, SHARES);
}

/**
 * Adds the rates of the spec to the disks.
 * @throws SandboxError `bad-spec` for a rate of a disk that does not exist
 */
export function withRates(disks: readonly DiskSpec[], spec: RunSpec): DiskSpec[] {
  const deviceRates = (spec.deviceRates ?? []).filter(({ device }) => device !== SHARES);
  const names = disks.map((_, index) => `/dev/vd${String.fromCharCode('a'.charCodeAt(0) + index)}`);
  const unknown = deviceRates.find(({ device }) => device !== undefined && !names.includes(device));
  if (unknown !== undefined)
    refuse(
      `no such device '${unknown.device}': the container's disks are ${names.join(', ')}; '${SHARES}' are its mounts`,
    );
  return disks.map((disk, index) => {
    const rates = ratesOf(deviceRates, names[index]);
    return rates === undefined ? disk : { ...disk, rates };
  });
}

/** A rate of one device overrides a rate of all, in whatever order the two are given. */
function ratesOf(deviceRates: readonly DeviceRate[], name: string | undefined): DiskRates | undefined {
  const own = [undefined, name].flatMap((wanted) => deviceRates.filter(({ device }) => device === wanted));
  return own.length === 0 ? undefined : Object.fromEntries(own.map(({ of, rate }) => [of, rate]));
}

/** Number of vCPUs for `cpus`, rounded up. {@link cgroupLimits} limits their time to a fraction. */
export function vcpuCount(cpus = 1): number {
  return Math.ceil(cpus);
}

/** The limits of the container's cgroup. Memory is limited by the machine's size. */
export function cgroupLimits({ cpus = 1, pidsLimit = 0 }: RunSpec): Limits {
  return {
    pids: pidsLimit > 0 ? pidsLimit : undefined,
    cpuQuota: Number.isInteger(cpus) ? undefined : Math.round(cpus * CPU_PERIOD),
    cpuPeriod: Number.isInteger(cpus) ? undefined : CPU_PERIOD,
  };
}

function capabilities({ privileged, capAdd, capDrop }: RunSpec): Capability[] {
  return privileged ? [...CAPABILITIES] : resolveCapabilities(capAdd, capDrop);
}

/** The rights and limits of each process of the container. */
export function processLimits(
  spec: RunSpec,
): Pick<ProcessSpec, 'capabilities' | 'groups' | 'noNewPrivileges' | 'rlimits'> {
  const { ulimits = [], groupAdd = [], noNewPrivileges } = spec;
  const given = new Map([...DEFAULT_RLIMITS, ...ulimits].map((limit) => [limit.name, limit]));
  return {
    capabilities: capabilities(spec),
    groups: [...groupAdd],
    noNewPrivileges,
    rlimits: [...given.values()],
  };
}

/**
 * The seccomp filter of each process of the container. Without a profile it refuses little (see
 * seccomp/refused.ts): the kernel that a profile would protect is the container's own. A privileged
 * container has no filter.
 *
 * @param kernelRelease release of the guest's kernel, which rules may depend on
 * @throws SandboxError `bad-spec` if the filter is too long
 */
export function seccompFilter(spec: RunSpec, kernelRelease: string): BpfInstruction[] | undefined {
  if (spec.privileged) return undefined;
  return compileSeccomp(spec.seccomp, { capabilities: capabilities(spec), kernelRelease });
}
