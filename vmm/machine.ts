// What a machine is given and what it says: the seam between the sandbox, which owns a machine process, and the
// machine process itself. Everything here is plain JSON, sent one object a line over the control socket.

/** File descriptor of the control socket in the machine process. */
export const CONTROL_FD = 3;

/** A run of bytes of a host file. Extents laid end to end are a disk. Offsets and lengths in bytes. */
export interface DiskExtent {
  path: string;
  offset: number;
  length: number;
}

export interface DiskSpec {
  /** virtio-blk serial (virtio 1.2, 5.2.6, VIRTIO_BLK_T_GET_ID): at most 20 bytes of ASCII. */
  id: string;
  readOnly: boolean;
  /** Each extent's offset and length are multiples of 512 bytes. */
  extents: DiskExtent[];
  /** Absent: as fast as it goes. */
  rates?: DiskRates;
}

/** What a disk may do in a second; absent: no limit. Writes are all that changes it. */
export interface DiskRates {
  readBytes?: number;
  writeBytes?: number;
  readOperations?: number;
  writeOperations?: number;
}

/** A folder or a file of the host that the guest finds on its virtio-fs device, by its place in the list. */
export interface ShareSpec {
  /** Absolute. */
  path: string;
  /** Refused by the device, whatever the guest's mount says. */
  readOnly: boolean;
}

export type Accelerator = 'kvm' | 'tcg';

export interface MachineSpec {
  accel: Accelerator | 'auto';
  /** Path of an ELF `vmlinux` or a `bzImage`. */
  kernel: string;
  /** Path of the initial RAM file system (cpio). */
  initramfs: string;
  /** Words added to the kernel command line after the machine's own. */
  commandLine: string;
  /** Number of vCPUs, 1 to 64. */
  cpus: number;
  /** Guest memory in bytes, a multiple of 4096. */
  memory: number;
  /** In order: the guest sees vda, vdb, ... */
  disks: DiskSpec[];
  /** The guest sees `0`, `1`, ... on the virtio-fs device `tsvm`. Absent or empty: there is no such device. */
  shares?: ShareSpec[];
  /**
   * Host side of the vsock device. A guest's connection to host port N arrives at the unix socket `${path}_N`;
   * a host's connection to the unix socket `path` says `CONNECT port\n` and reaches the guest's port.
   */
  vsock: { guestCid: number; path: string };
  /** Show the guest's serial console on the machine process's stderr. */
  console: boolean;
  /** File that keeps the verdict of the KVM probe between runs; absent: probe each time. */
  probeCache?: string;
  logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug' | 'trace';
}

/** What the owner says to the machine process. `shutdown` stops the vCPUs at once: the guest has synced by then. */
export type MachineRequest =
  | { type: 'boot'; spec: MachineSpec }
  | { type: 'probe' }
  | { type: 'statistics' }
  | { type: 'shutdown' };

/**
 * Codes of a machine that could not start or could not go on.
 * - no-kvm: no /dev/kvm.  - kvm-permission: it may not be opened.  - kvm-unusable: it can't run a stock kernel.
 * - no-accelerator: the asked-for accelerator is not there.  - bad-kernel: not a bootable kernel.
 * - bad-spec: memory, CPUs, a path or another word of the spec is out of range.
 * - guest-crash: triple fault, emulation failure, kernel panic.  - host: the host refused something (memory, files).
 */
export type MachineErrorCode =
  | 'no-kvm'
  | 'kvm-permission'
  | 'kvm-unusable'
  | 'no-accelerator'
  | 'bad-kernel'
  | 'bad-spec'
  | 'guest-crash'
  | 'host';

/** Milliseconds since the epoch (`performance.timeOrigin + performance.now()`), by phase. */
export interface MachineTimes {
  processStarted: number;
  specReceived: number;
  vcpusStarted: number;
}

export interface MachineStatistics {
  /** VM exits that reached user space, by KVM's name of the reason: `io`, `mmio`, `hlt`, ... */
  exits: Record<string, number>;
  /** KVM ioctls other than KVM_RUN, by name. */
  ioctls: Record<string, number>;
}

export interface ProbeResult {
  usable: boolean;
  code?: MachineErrorCode;
  /** One line: what was found. */
  reason: string;
}

/**
 * What the machine process says to its owner. The `reason` of `booted` is why `auto` did not come to KVM. After `stopped`, `failed` or `probed` it exits. `console` is the end of
 * what the guest wrote to its serial console, at most 16 KiB; a kernel panic is a `reset` whose console tells of it.
 */
export type MachineEvent =
  | { type: 'booted'; accel: Accelerator; reason?: string; times: MachineTimes }
  | { type: 'statistics'; statistics: MachineStatistics }
  | { type: 'stopped'; reason: 'shutdown' | 'reset'; statistics: MachineStatistics; console?: string }
  | { type: 'failed'; code: MachineErrorCode; message: string; console?: string }
  | { type: 'probed'; result: ProbeResult };

/** An error that ends a machine. `message` is one line: what was wrong and what to do. */
export class MachineError extends Error {
  constructor(
    readonly code: MachineErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'MachineError';
  }
}
