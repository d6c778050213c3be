// The vocabulary between the sandbox, which owns a machine process, and that process. All of it is
// plain JSON, sent as JSON lines over the control socket.

/** File descriptor of the control socket in the machine process. */
export const CONTROL_FD = 3;
/** File descriptor of /dev/kvm in the machine process. */
export const KVM_FD = 4;

// The names under which the owner sends what it opened.

/** A kernel, an initial RAM file system, or a file of a disk. */
export function fileName(path: string, readOnly: boolean): string {
  return `${readOnly ? 'read' : 'write'} ${path}`;
}

/** The file of guest memory of an emulated machine, which QEMU has too. */
export const GUEST_MEMORY = 'guest memory';
/** The empty file for the firmware of an emulated machine, which QEMU reads. */
export const FIRMWARE = 'firmware';

/** The machine's end of the vhost-user connection of the device of this index. */
export function vhostName(index: number): string {
  return `vhost-user ${index}`;
}

/** The name by which the guest mounts the virtio-fs device. */
export const FS_TAG = 'tsvm';
/** Room for requests of 1 MiB in pages with their headers. */
export const FS_QUEUE_SIZE = 512;

/** A pipe to the companion of the machine process (sandbox/machine/companion.ts): a line starts it. */
export const COMPANION_START = 'start of the companion';
/** A pipe with the companion's stdout: the serial console. */
export const COMPANION_CONSOLE = 'console of the companion';
/** A pipe with the companion's log. */
export const COMPANION_LOG = 'log of the companion';

/**
 * The socket at which QEMU finds the network device of this index, beside the vsock device's socket
 * at `path`.
 */
export function qemuNetSocket(path: string, index: number): string {
  return `${path}.net${index}`;
}

/** The socket at which User-Mode Linux finds all devices, beside the vsock device's at `path`. */
export function umlSocket(path: string): string {
  return `${path}.uml`;
}

/** A socket to the host's routes (vmm/outside/route-socket.ts). */
export const ROUTE_SOCKET = 'routes';
/** The tap interface behind the network device of this index. */
export function backEndName(index: number): string {
  return `network ${index}`;
}

/** The share of this index, opened with O_PATH. */
export function shareName(index: number): string {
  return `share ${index}`;
}

/** The count of the budget of the share of this index (vmm/devices/fs/budget.ts). */
export function countName(index: number): string {
  return `count of share ${index}`;
}

/** The file of the memory of a saved machine. */
export const SAVED_MEMORY = 'saved memory';
/** The file of the rest of its state: JSON. */
export const SAVED_STATE = 'saved state';

/** The socket of this index in {@link RelaySpec.published}. */
export function publishedName(index: number): string {
  return `published ${index}`;
}

/** A unix socket that listens at this path. */
export function listenerName(path: string): string {
  return `listen ${path}`;
}

/** A connection with the member of this address of the private network of `folder`. */
export function linkName(folder: string, address: string): string {
  return `link ${folder} ${address}`;
}

/**
 * A run of bytes in a host file. Extents laid end to end are a disk. Offsets and lengths in bytes.
 */
export interface DiskExtent {
  path: string;
  offset: number;
  length: number;
}

export interface DiskSpec {
  /** virtio-blk serial (virtio 1.2, 5.2.6, VIRTIO_BLK_T_GET_ID): at most 20 bytes of ASCII. */
  id: string;
  readOnly: boolean;
  /** If true, the contents end with the machine: a flush need not reach the host's disk. */
  volatile?: boolean;
  /** The offset and length of each extent are multiples of 512 bytes. */
  extents: DiskExtent[];
  /** Absent: no limits. */
  rates?: DiskRates;
}

/**
 * What a disk may do in one second. An absent rate is not limited. Writes include discards,
 * write-zeroes and flushes.
 */
export interface DiskRates {
  readBytes?: number;
  writeBytes?: number;
  readOperations?: number;
  writeOperations?: number;
}

/**
 * A host folder or file that the guest finds on its virtio-fs device, under its index in the list.
 * The owner opens it and sends it before `boot`: its path may lead elsewhere later.
 */
export interface ShareSpec {
  /** Its path, for messages. */
  path: string;
  /** Enforced by the device, whatever the guest's mount options are. */
  readOnly: boolean;
  /**
   * If true, files keep the set-user-ID and set-group-ID bits and the capabilities that the guest
   * gives them: other users of the host cannot enter the folder. Default false.
   */
  keepSetId?: boolean;
  /**
   * If present, the owner also sends the file that has the share's count.
   */
  budget?: ShareBudget;
}

/** A share that a machine gets while it runs. */
export type LaterShare = Omit<ShareSpec, 'budget'>;

/** What a share may have at most: bytes on the host's disk, files and folders. Absent: no bound. */
export interface ShareBudget {
  bytes?: number;
  inodes?: number;
  /** The machine's place in the memory of the count (vmm/devices/fs/deletions.ts). */
  slot?: number;
}

/**
 * What a guest may or may not send to: a range of addresses, or a name. A name covers the addresses
 * that DNS answers give the guest for it.
 */
export interface NetworkRule {
  allow: boolean;
  /** `10.0.0.0/8`, `2001:db8::/32`, or a single address. */
  range?: string;
  /** `example.com`, or `*.example.com` for the names below it. */
  name?: string;
  /** First and last TCP and UDP port. Absent: all ports, and ping. */
  ports?: [number, number];
}

/** Host ports that lead to guest ports, one to one. */
export interface PublishedPorts {
  protocol: 'tcp' | 'udp';
  /** Host address. Absent: all host addresses. */
  address?: string;
  /** The first host port. 0: the kernel picks free ports. */
  host: number;
  /** With `last`, one guest port is published on the first free host port from `host` to `last`. */
  last?: number;
  guest: number;
  count: number;
}

/** The host's own sockets, one for each of the guest's connections (devices/net/relay). */
export interface RelaySpec {
  kind: 'relay';
  ports: PublishedPorts[];
  /** The sockets of published ports that the owner sends. Absent: there is none. */
  published?: PublishedSocket[];
  /** Queries to `address` go to the host's own resolver. */
  dns?: { address: string; resolver: string };
  /** If true, a connection to the gateway reaches the host's loopback interface. */
  reachHost: boolean;
  /**
   * TCP to these ports of `address` goes to a proxy that the owner knows, whatever the rules say.
   */
  egress?: EgressSpec;
}

export interface EgressSpec {
  address: string;
  ports: number[];
  /** Names of hosts that are there for the guest's questions, in lower case. */
  names: string[];
}

/**
 * The proxy behind {@link EgressSpec}, for the machine's owner: a port of the loopback interface.
 */
export interface EgressPort {
  /** Undefined: the proxy has ended. */
  readonly port: number | undefined;
  /**
   * @param from the port of a socket that connects.
   * @param to the port that the guest connects to
   */
  announce(connection: { from: number; to: number }): void;
}

/** A socket of a published port: one of TCP listens, one of UDP has what comes to the port. */
export interface PublishedSocket {
  protocol: PublishedPorts['protocol'];
  /** The guest's port. */
  guest: number;
}

/** A host tap interface. */
export interface TapSpec {
  kind: 'tap';
  interface: string;
}

/**
 * An interface in a network namespace that an engine made: the guest is on its wire, and nothing is
 * between them (outside/wire.ts). The guest has the interface's addresses.
 */
export interface WireSpec {
  kind: 'wire';
  /** Path of the namespace. */
  namespace: string;
  interface: string;
  /** Name of the tap interface that is made beside it. */
  tap: string;
}

/**
 * A private network of the guest. The machines of its members reach each other through a folder.
 */
export interface PeerNetwork {
  /** The name that the user gave it. */
  name: string;
  /** Holds the members' sockets. Only one user may enter it. */
  folder: string;
  /** The guest's names in this network. */
  names: string[];
  /** What the owner found there, beside the sockets that it sends. Absent: no other member. */
  found?: FoundMembers;
}

/** The other members of a private network when its newest one came. Addresses are IPv4, as text. */
export interface FoundMembers {
  /** Addresses of those whose connections the owner sends. */
  members: string[];
  /** Names in lower case, and the addresses that they stand for. */
  names: [name: string, address: string][];
}

/** No outside network: a guest that has private networks only. */
export interface IsolatedSpec {
  kind: 'none';
}

/**
 * Why the network device refused a frame from the guest:
 * - `malformed`: the frame cannot be parsed.
 * - `spoofed`: the source address is not the guest's.
 * - `next-hop`: the destination MAC address is not the gateway's.
 * - `closed`: the destination is outside the public Internet or one of the host's own networks, and
 *   no rule opens it.
 * - `denied`: a rule denies the destination.
 * - `not-allowed`: there are rules that allow, and none of them allows the destination.
 * - `name`: the frame is a query for a name that no rule allows, or one that the resolver may not
 *   get.
 * - `no-connection`: a TCP segment that belongs to no connection.
 * - `limit`: the guest has `maxConnections` connections.
 */
export type RefusalReason =
  | 'malformed'
  | 'spoofed'
  | 'next-hop'
  | 'closed'
  | 'denied'
  | 'not-allowed'
  | 'name'
  | 'no-connection'
  | 'limit';

/** The most refusals that a machine reports. A guest that tries all addresses causes no more. */
export const MAX_REFUSALS = 256;

/** A destination that the guest tried to reach and may not. */
export interface Refusal {
  reason: RefusalReason;
  /** `tcp`, `udp`, `echo`, or what could not be parsed. */
  what: string;
  /** As much of it as is known: `10.0.0.1:80`, `[fd00::1]:443`, `10.0.0.1`. */
  destination?: string;
}

/** Number of refused frames by reason. */
export type RefusalCounts = Partial<Record<RefusalReason, number>>;

/** Frames are counted in packets of the MTU. */
export interface NetworkRates {
  bytes?: number;
  packets?: number;
}

/** The guest's network interface. All addresses are text. */
export interface NetworkSpec {
  /** MAC address of the guest; `gatewayMac` is that of its only neighbour. `02:00:00:00:00:01`. */
  mac: string;
  gatewayMac: string;
  /** Largest IP packet in bytes: 1280 to 65520. */
  mtu: number;
  /** Addresses that the guest may send from. The first is its IPv4 address. */
  addresses: string[];
  /** One for IPv4, and one for IPv6 if the guest has IPv6. */
  gateways: string[];
  /** Resolvers that the guest may always query. */
  resolvers: string[];
  /**
   * If no rule allows anything, every destination is allowed that is not closed
   * (addresses/closed-ranges.ts).
   */
  rules: NetworkRule[];
  /**
   * Address ranges of the members of private networks. The last 32 bits of an address name the
   * member.
   */
  peerRanges: string[];
  /**
   * Connections and pairs of UDP ports with the outside that may be open at once, in both
   * directions together.
   */
  maxConnections: number;
  /**
   * What the guest may send in one second, and what it may receive. An absent rate is not limited.
   */
  rates?: NetworkRates;
  /** If true, the machine boots without a network when the back end fails, and reports why. */
  optional: boolean;
  /** Absent: the guest is in no private network and cannot join one. */
  peers?: PeerNetwork[];
  backEnd: RelaySpec | TapSpec | WireSpec | IsolatedSpec;
}

export type Accelerator = 'kvm' | 'tcg' | 'uml';

/**
 * What a system call that a running machine process does not need leads to (accel/system-calls.ts):
 * - kill: the end of the process.
 * - refuse: EPERM, to debug.
 * - log: a line in the kernel's log, to debug.
 * - off: there is no filter, to debug.
 */
export type SystemCallFilter = 'kill' | 'refuse' | 'log' | 'off';

export interface MachineSpec {
  accel: Accelerator | 'auto';
  /** Path of an ELF `vmlinux` or a `bzImage`; for `uml`, of a kernel of User-Mode Linux. */
  kernel: string;
  /** Path of the initial RAM file system (cpio). */
  initramfs: string;
  /**
   * Path of another one that follows it: the modules of a distribution's kernel. The kernel then
   * finds CPUs and devices in ACPI tables. Absent: it finds them in the MP table and on its command
   * line.
   */
  modules?: string;
  /** Parameters appended to the machine's own kernel parameters. */
  commandLine: string;
  /** Number of vCPUs, 1 to 64. */
  cpus: number;
  /** Guest memory in bytes, a multiple of 4096. */
  memory: number;
  /** The guest sees vda, vdb, ... in this order. */
  disks: DiskSpec[];
  /**
   * The guest sees `0`, `1`, ... on the virtio-fs device `tsvm`. Absent or empty: no such device.
   */
  shares?: ShareSpec[];
  /** What all shares together may do in one second. Absent: no limits. */
  shareRates?: DiskRates;
  /**
   * Host side of the vsock device. A guest connection to host port N arrives at the unix socket
   * `${path}_N`. A host connection to the unix socket `path` sends `CONNECT port\n` to reach a
   * guest port.
   */
  vsock: { guestCid: number; path: string };
  /** Absent: the guest has a loopback interface only. */
  network?: NetworkSpec;
  /** Further interfaces that an engine made, each a wire as the first one then is. Absent: none. */
  wires?: NetworkSpec[];
  /** If true, the guest's serial console is copied to the machine process's stderr. */
  console: boolean;
  /** The result of an earlier probe of this host's KVM. Absent: the machine probes if it must know. */
  probe?: ProbeResult;
  /** Frequency of the host's time stamp counter in kHz, which emulated CPUs share. */
  tscKhz?: number;
  /** Why the owner has no emulator for the machine. Absent: it has sent what an emulated one needs. */
  noEmulator?: string;
  /**
   * If true, the owner also sends a machine that was saved with this specification: it continues, and
   * the kernel is not loaded. On KVM only.
   */
  isSaved?: boolean;
  /** Default: kill. */
  systemCalls?: SystemCallFilter;
  logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug' | 'trace';
}

/** How the companion of a machine process ended. */
export interface CompanionEnd {
  /** Undefined if a signal ended it. */
  exitCode?: number;
  /** `exit code 1`, `signal 9`. */
  outcome: string;
  /** The last line of its stderr, as printable text; may be empty. */
  said: string;
}

/** What a socket of the host carries for the guest. */
export type Carried = 'tcp' | 'udp' | 'ping';

/**
 * A number that the machine chose; what the socket carries; the ports of the guest and of the
 * destination, 0 for ping; the four words of the destination's address as the guest sees it.
 */
export type ConnectRequest = [
  id: number,
  carried: Carried,
  guestPort: number,
  port: number,
  ...address: [number, number, number, number],
];

/** A number that the machine chose, and the host port that the guest's vsock connects to. */
export type PortRequest = [id: number, carried: 'vsock', port: number];

/** The number of the request, and 0 for a socket that connects or is connected, else an errno. */
export type ConnectAnswer = [id: number, errno: number];

/** The most connections of the vsock device, with those that are asked for. */
export const MAX_VSOCK_CONNECTIONS = 512;

/** The most requests of one `connect`, and answers of one `connected`. */
export const MAX_CONNECTS = 64;

/** A datagram that came to a published port. Addresses are four words each, of the host. */
export interface Arrival {
  client: number[];
  clientPort: number;
  /** Where the client sent it to. */
  here: number[];
  /** Base64. */
  payload: string;
  /**
   * True if a socket comes along that is connected with the client: it gets what else the client
   * sends. False if an earlier datagram of the client had one.
   */
  hasSocket: boolean;
}

/**
 * The policy counts the guest's connections ({@link NetworkSpec.maxConnections}). The relay has, and
 * has asked for, at most this many times as many sockets: a connection that the guest's frames made
 * the policy forget, and the relay not, still counts there.
 */
export const MAX_PER_PLACE = 2;

/**
 * What the owner sends to the machine process:
 * - `files`: carries one open file or socket (unix(7), SCM_RIGHTS) for each of the names. `boot` and
 *   `join` follow those that they need. Not answered.
 * - `boot`: build and start the machine. Answered by `booted`.
 * - `probe`: find out whether KVM is usable. Answered by `probed`.
 * - `statistics`: answered by `statistics`.
 * - `join`: add the guest to a private network. Answered by `joined`.
 * - `leave`: remove the guest from the private network of `folder`. Not answered.
 * - `share`: serve more shares to a machine that has some. They get the next indexes. `files` before it
 *   carries them. Answered by `shared`. Such a machine cannot be saved.
 * - `unshare`: close shares. Their indexes stay theirs. Not answered.
 * - `save`: pause the machine and save it. `files` before it carries {@link SAVED_MEMORY}, which has
 *   the size of the memory and is all holes, and {@link SAVED_STATE}, which is empty. Answered by
 *   `saved`.
 * - `resume`: let a machine run on that was saved. Not answered.
 * - `companion-ended`: the companion has ended. All that it wrote is in its pipes. Not answered.
 * - `connected`: the answers to `connect`. Carries a socket for each that has one. Not answered.
 * - `arrived`: the answer to `arrivals`. Carries a socket for each datagram that has one. `hasMore`: the
 *   owner has received others, so that the published socket does not tell of them.
 * - `shutdown`: stop the vCPUs at once; the guest has synced its disks before. Answered by
 *   `stopped`.
 */
export type MachineRequest =
  | { type: 'files'; names: string[] }
  | { type: 'boot'; spec: MachineSpec }
  | { type: 'probe' }
  | { type: 'statistics' }
  | { type: 'join'; network: PeerNetwork }
  | { type: 'leave'; folder: string }
  | { type: 'share'; shares: LaterShare[] }
  | { type: 'unshare'; indexes: number[] }
  | { type: 'save' }
  | { type: 'resume' }
  | { type: 'companion-ended'; end: CompanionEnd }
  | { type: 'connected'; answers: ConnectAnswer[] }
  | { type: 'arrived'; published: number; arrivals: Arrival[]; hasMore: boolean }
  | { type: 'shutdown' };

/**
 * Why a machine could not start, could not go on, or refused a call:
 * - `no-kvm`: the host has no /dev/kvm.
 * - `kvm-permission`: the user may not open /dev/kvm.
 * - `kvm-unusable`: this KVM cannot run a stock kernel.
 * - `no-accelerator`: the accelerator that was asked for is not available.
 * - `bad-kernel`: the file is not a bootable kernel.
 * - `bad-spec`: memory, CPUs, a path or another part of the spec is out of range.
 * - `no-network`: the interface is missing, or the host refuses: for example, a port is in use.
 * - `guest-crash`: triple fault, emulation failure or kernel panic.
 * - `host`: the host refused something, such as memory or a file.
 * - `bad-state`: the call does not fit the machine's state.
 * - `bad-snapshot`: a saved state is damaged, or of another version.
 * - `unsupported`: this kind of machine cannot do it at all.
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
  | 'bad-snapshot'
  | 'unsupported';

/** Milliseconds since the epoch (`performance.timeOrigin + performance.now()`), by phase. */
export interface MachineTimes {
  processStarted: number;
  specReceived: number;
  vcpusStarted: number;
}

export interface MachineStatistics {
  /** VM exits to user space, by KVM's name of the exit reason: `io`, `mmio`, `hlt`, ... */
  exits: Record<string, number>;
  /** KVM ioctls other than KVM_RUN, by name. */
  ioctls: Record<string, number>;
  /** Guest frames that the network device refused. */
  refused?: RefusalCounts;
  /** Absent before the machine is built. */
  memory?: MemoryStatistics;
}

/** Sizes in bytes. */
export interface MemoryStatistics {
  /** Host memory that the guest's memory occupies. */
  resident: number;
}

export interface ProbeResult {
  usable: boolean;
  code?: MachineErrorCode;
  /** One line: what the probe found. */
  reason: string;
}

/**
 * What the machine process sends to its owner. It exits after `stopped`, `failed` or `probed`.
 * - `kvm`: the machine probed KVM, because its spec had no result.
 * - `booted`: a vCPU runs. `reason` says why `auto` did not choose KVM.
 * - `network`: the network is up. The owner knows the published ports.
 * - `connect`: connected sockets are needed. Each is answered by `connected`.
 * - `arrivals`: datagrams of new clients wait in the socket of this index in
 *   {@link RelaySpec.published}. Answered by `arrived`, and then asked again if there are more.
 * - `refused`: the guest tried a destination that it may not reach. Sent once per destination.
 * - `joined`: the answer to `join`; `error` says why it failed.
 * - `shared`: the answer to `share`: the index of the first one, or `error`, which says why it failed.
 * - `saved`: the answer to `save`. The machine is paused, or with an `error` it runs on. `isDiskFull`
 *   says that the disk of the files is.
 * - `stopped`: the machine ended. A kernel panic is a `reset` whose `console` shows the panic.
 * - `failed`: the machine could not start or could not go on.
 *
 * `console` is the end of the guest's serial output, at most 16 KiB.
 */
export type MachineEvent =
  | { type: 'kvm'; result: ProbeResult }
  | { type: 'booted'; accel: Accelerator; reason?: string; times: MachineTimes }
  | { type: 'statistics'; statistics: MachineStatistics }
  | { type: 'network' }
  | { type: 'connect'; asked: (ConnectRequest | PortRequest)[] }
  | { type: 'arrivals'; published: number }
  | { type: 'refused'; refusal: Refusal }
  | { type: 'joined'; error?: string }
  | { type: 'shared'; first?: number; error?: string }
  | { type: 'saved'; error?: string; isDiskFull?: boolean }
  | { type: 'stopped'; reason: 'shutdown' | 'reset'; statistics: MachineStatistics; console?: string }
  | { type: 'failed'; code: MachineErrorCode; message: string; console?: string }
  | { type: 'probed'; result: ProbeResult };

/**
 * An error that ends a machine or refuses a call. `message` is one line: what was wrong and what to
 * do.
 */
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
