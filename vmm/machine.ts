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

/** What a guest may send to: a range of addresses, or a name whose addresses are those that the guest is told by DNS. */
export interface NetworkRule {
  allow: boolean;
  /** `10.0.0.0/8`, `2001:db8::/32`, or an address. */
  range?: string;
  /** `example.com`, or `*.example.com` for the names below it. */
  name?: string;
  /** The first and the last of TCP and UDP ports; absent: all of them, and ping. */
  ports?: [number, number];
}

/** Ports of the host that lead to ports of the guest, one by one. */
export interface PublishedPorts {
  protocol: 'tcp' | 'udp';
  /** Of the host; absent: all of its addresses. */
  address?: string;
  /** The first. 0: as many as are needed of those that are free. */
  host: number;
  /** The first of `host` to `last` that is free is taken, for one port of the guest's. */
  last?: number;
  guest: number;
  count: number;
}

/** passt, which makes connections of its own of those of the guest. */
export interface PasstSpec {
  kind: 'passt';
  ports: PublishedPorts[];
  /** Queries to this address go to the host's own resolver. */
  forwardDns?: string;
  /** A connection to the gateway is one to the host's loopback interface. */
  reachHost: boolean;
  /** Interface of the host for its addresses' sake, where no route leads out by IPv4. */
  interface?: string;
}

/** A tap interface of the host's. */
export interface TapSpec {
  kind: 'tap';
  interface: string;
}

/** A private network that the guest is in: its members' machines reach each other through the folder. */
export interface PeerNetwork {
  /** As people know it. */
  name: string;
  /** Its members' sockets: one user's alone. */
  folder: string;
  /** What the guest is called there. */
  names: string[];
}

/** No outside: a guest whose networks are all private. */
export interface IsolatedSpec {
  kind: 'none';
}

/**
 * Why a frame of the guest's does not pass:
 * `malformed` it is not understood; `spoofed` it is from another address than the guest's; `next-hop` it is for another
 * neighbour than the gateway; `closed` the address is not of the public Internet, and no rule opens it; `denied` by a
 * rule; `not-allowed` by any rule; `name` a query for a name that no rule allows; `no-connection` a TCP segment of none.
 */
export type RefusalReason =
  | 'malformed'
  | 'spoofed'
  | 'next-hop'
  | 'closed'
  | 'denied'
  | 'not-allowed'
  | 'name'
  | 'no-connection';

/** A destination that the guest may not reach and tried to. */
export interface Refusal {
  reason: RefusalReason;
  /** `tcp`, `udp`, `echo`, or what was not understood. */
  what: string;
  /** As far as it is known: `10.0.0.1:80`, `[fd00::1]:443`, `10.0.0.1`. */
  destination?: string;
}

/** Frames refused, by reason. */
export type RefusalCounts = Partial<Record<RefusalReason, number>>;

/** The guest's network interface. All addresses are text. */
export interface NetworkSpec {
  /** Of the guest, and of its only neighbour: `02:00:00:00:00:01`. */
  mac: string;
  gatewayMac: string;
  /** Bytes of an IP packet: 1280 to 65520. */
  mtu: number;
  /** Those that the guest may send from. The first is its IPv4 address. */
  addresses: string[];
  /** One for IPv4, and one for IPv6 where the guest has that. */
  gateways: string[];
  /** Those that the guest may always ask. */
  resolvers: string[];
  /** Without one that allows, all is allowed that is not closed (vmm/devices/net/closed-ranges.ts). */
  rules: NetworkRule[];
  /** Ranges of the addresses that members of private networks have; the last 32 bits of an address name the member. */
  peerRanges: string[];
  /** A machine without it is better than none: when the back end cannot be had, that is only said. */
  optional: boolean;
  /** Absent: the guest is in no private network, and cannot join one. */
  peers?: PeerNetwork[];
  backEnd: PasstSpec | TapSpec | IsolatedSpec;
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
  /** Absent: the guest has a loopback interface only. */
  network?: NetworkSpec;
  /** Show the guest's serial console on the machine process's stderr. */
  console: boolean;
  /** File that keeps the verdict of the KVM probe between runs; absent: probe each time. */
  probeCache?: string;
  logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug' | 'trace';
}

/**
 * What the owner says to the machine process. `shutdown` stops the vCPUs at once: the guest has synced by then.
 */
export type MachineRequest =
  | { type: 'boot'; spec: MachineSpec }
  | { type: 'probe' }
  | { type: 'statistics' }
  | { type: 'join'; network: PeerNetwork }
  | { type: 'leave'; folder: string }
  | { type: 'shutdown' };

/**
 * Codes of a machine that could not start or could not go on.
 * - no-kvm: no /dev/kvm.  - kvm-permission: it may not be opened.  - kvm-unusable: it can't run a stock kernel.
 * - no-accelerator: the asked-for accelerator is not there.  - bad-kernel: not a bootable kernel.
 * - bad-spec: memory, CPUs, a path or another word of the spec is out of range.
 * - no-network: passt or the interface is missing, or does not do what is asked: a port is in use.
 * - guest-crash: triple fault, emulation failure, kernel panic.  - host: the host refused something (memory, files).
 * - bad-state: what was asked does not fit the machine's state.  - unsupported: this kind of machine cannot do it at all.
 */
export type MachineErrorCode =
  | 'no-kvm'
  | 'kvm-permission'
  | 'kvm-unusable'
  | 'no-accelerator'
  | 'bad-kernel'
  | 'bad-spec'
  | 'no-network'
  | 'guest-crash'
  | 'host'
  | 'bad-state'
  | 'unsupported';

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
  /** Frames of the guest that its network device refused. */
  refused?: RefusalCounts;
  /** Absent before the machine is built. */
  memory?: MemoryStatistics;
}

/** Bytes. */
export interface MemoryStatistics {
  /** What the guest's memory takes of the host's. */
  resident: number;
}

export interface ProbeResult {
  usable: boolean;
  code?: MachineErrorCode;
  /** One line: what was found. */
  reason: string;
}

/**
 * What the machine process says to its owner. The `reason` of `booted` is why `auto` did not come to KVM. `network` says
 * that the outside can be reached, by which ports of the host's addresses, or cannot be any more; `refused` that the guest may not send somewhere, once for each
 * destination. After `stopped`, `failed` or `probed` it exits. `console` is the end of
 * what the guest wrote to its serial console, at most 16 KiB; a kernel panic is a `reset` whose console tells of it.
 */
export type MachineEvent =
  | { type: 'booted'; accel: Accelerator; reason?: string; times: MachineTimes }
  | { type: 'statistics'; statistics: MachineStatistics }
  | { type: 'network'; up: true; ports: PublishedPorts[] }
  | { type: 'network'; up: false; reason: string }
  | { type: 'refused'; refusal: Refusal }
  | { type: 'joined'; error?: string }
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
