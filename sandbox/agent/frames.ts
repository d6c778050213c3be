// What host and guest agent say to each other, as plain objects. Specification: guest-agent/PROTOCOL.md.
// agent-protocol.ts turns these into bytes and back.

/** vsock port, on the host, that the agent connects to for the control connection and for every stream. */
export const AGENT_PORT = 1024;
/** Protocol version that `hello` must carry. */
export const PROTOCOL_VERSION = 1;
/** Largest payload the agent accepts, in bytes. */
export const MAX_HOST_PAYLOAD = 4 * 1024 * 1024;
/** Largest payload the host accepts from the agent, in bytes. */
export const MAX_AGENT_PAYLOAD = 64 * 1024;

/** The most instructions of a seccomp filter (BPF_MAXINSNS). */
export const MAX_INSTRUCTIONS = 4096;

/** Capability names, each at the index of its bit (capability.h). */
export const CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** Resource limit names, each at the index of its RLIMIT_ number (x86-64). */
export const RLIMITS = [
  'cpu',
  'fsize',
  'data',
  'stack',
  'core',
  'rss',
  'nproc',
  'nofile',
  'memlock',
  'as',
  'locks',
  'sigpending',
  'msgqueue',
  'nice',
  'rtprio',
  'rttime',
] as const;
export type RlimitName = (typeof RLIMITS)[number];

export interface Rlimit {
  name: RlimitName;
  /** In the resource's own unit. */
  soft: number | 'unlimited';
  hard: number | 'unlimited';
}

/** An instruction of classic BPF: `struct sock_filter` (linux/filter.h). */
export interface BpfInstruction {
  code: number;
  /** Instructions to skip when a jump's condition holds, and when it does not: 0 to 255. */
  jt: number;
  jf: number;
  /** 32 bits, unsigned. */
  k: number;
}

export interface TerminalSize {
  /** 0 to 65535. */
  columns: number;
  /** 0 to 65535. */
  rows: number;
}

/** One process in the container. */
export interface ProcessSpec {
  /** Chosen by the host, 1 to 2^32-1; names the process in every later frame. */
  id: number;
  /** At least one string. argv[0] is searched for in the container's PATH unless it has a slash. */
  argv: string[];
  /** `NAME=value`. The agent adds PATH, HOSTNAME, TERM (terminal only) and HOME where they are missing. */
  env?: string[];
  /** Absolute; made when missing. Default `/`. */
  cwd?: string;
  /** `user[:group]`, names or numbers, looked up in the image's passwd and group. Default root. */
  user?: string;
  /** Further supplementary groups, names or numbers. */
  groups?: string[];
  /** Given: one `terminal` stream. Absent: `stdout` and `stderr` streams, and `stdin` when asked for. */
  terminal?: TerminalSize;
  /** Open a `stdin` stream; without it stdin is /dev/null. Of no effect with a terminal. */
  stdin?: boolean;
  /** The bounding set. Default: Docker's 14. */
  capabilities?: Capability[];
  noNewPrivileges?: boolean;
  rlimits?: Rlimit[];
  /** A filter over `struct seccomp_data` (seccomp(2)), installed just before the program is executed. */
  seccomp?: readonly BpfInstruction[];
  /** The host's vsock port for the streams, 1024 to 2^32-2. Default: the agent port. */
  port?: number;
  /** argv names a tool of the agent's own (guest-agent/PROTOCOL.md, "Tools"), which runs as root. */
  tool?: boolean;
}

export interface RootSpec {
  /** The image: an EROFS block device, `/dev/vda`. */
  device: string;
  /** An ext4 block device for the writable layer, `/dev/vdb`. Absent: the layer is a tmpfs. */
  scratch?: string;
  /** Size of that tmpfs in bytes. Default: half of the guest's memory. */
  tmpfsSize?: number;
  readonly?: boolean;
}

/** A tmpfs in the container. nosuid, nodev and noexec unless said otherwise, as Docker's. */
export interface TmpfsMount {
  path: string;
  /** Bytes. Default: half of the guest's memory. */
  size?: number;
  /** Permission bits. Default 0o1777. */
  mode?: number;
  uid?: number;
  gid?: number;
  readonly?: boolean;
  exec?: boolean;
  suid?: boolean;
  dev?: boolean;
}

/** A folder or file of the host's in the container. nodev. */
export interface ShareMount {
  /** Of the machine's shares. */
  index: number;
  path: string;
  readonly?: boolean;
}

/** The machine's network interface, besides the loopback interface. */
export interface InterfaceSpec {
  /** `eth0`. */
  interface: string;
  /** With a prefix length: `198.19.0.2/32`. */
  addresses?: string[];
  /** Of the default routes: one for IPv4, one for IPv6. They need not be in the addresses' networks. */
  gateways?: string[];
}

/** cgroup v2 limits of the whole container. */
export interface Limits {
  /** memory.max, bytes. */
  memory?: number;
  /** pids.max. */
  pids?: number;
  /** cpu.max: microseconds of CPU time in each period. */
  cpuQuota?: number;
  /** Microseconds. Default 100000. */
  cpuPeriod?: number;
}

/** A kernel parameter. */
export interface Sysctl {
  /** Below /proc/sys: `net/ipv4/ip_forward`. */
  path: string;
  value: string;
}

export interface StartRequest {
  type: 'start';
  /** 1 to 65535, echoed by the answer. */
  request: number;
  /** 1 to 64 bytes. */
  hostname: string;
  /** Wall clock to set, microseconds since the epoch. */
  clock?: number;
  root: RootSpec;
  tmpfs?: TmpfsMount[];
  shares?: ShareMount[];
  /** Contents of /etc/hosts. Absent: the image's own stays. */
  hosts?: string;
  /** Contents of /etc/resolv.conf. Absent: the image's own stays. */
  resolvConf?: string;
  /** Absent: there is only the loopback interface. */
  network?: InterfaceSpec;
  /** Bytes of /dev/shm. Default 64 MiB. */
  shmSize?: number;
  limits?: Limits;
  sysctls?: Sysctl[];
  /** All devices of the machine; /proc, /sys and cgroups can be written. */
  privileged?: boolean;
  /** The agent's own process 1, which hands signals on and reaps; the program is its child. */
  init?: boolean;
  process: ProcessSpec;
}

export interface ExecRequest {
  type: 'exec';
  request: number;
  process: ProcessSpec;
}

export interface SignalRequest {
  type: 'signal';
  request: number;
  process: number;
  /** 1 to 64. */
  signal: number;
}

export interface ResizeRequest {
  type: 'resize';
  request: number;
  process: number;
  columns: number;
  rows: number;
}

/** Kill what runs, sync the disks, stop the machine. Never answered. */
export interface ShutdownRequest {
  type: 'shutdown';
  request: number;
}

export interface PingRequest {
  type: 'ping';
  request: number;
}

export type HostFrame = StartRequest | ExecRequest | SignalRequest | ResizeRequest | ShutdownRequest | PingRequest;

/** First frame of the control connection. */
export interface HelloFrame {
  type: 'hello';
  protocol: number;
  agent: string;
  /** `uname -r` of the guest. */
  kernel: string;
  /** Microseconds that the agent has run so far. */
  running?: number;
}

export interface StartedFrame {
  type: 'started';
  request: number;
  process: number;
  /** In the guest's outermost pid namespace. */
  pid: number;
}

/** Has exactly one of `code` and `signal`. May come before the streams' last bytes. */
export interface ExitedFrame {
  type: 'exited';
  process: number;
  /** 0 to 255. */
  code?: number;
  /** 1 to 64. */
  signal?: number;
  oomKilled?: boolean;
}

/** Error kinds, each at the index of its number less one. */
export const ERROR_KINDS = [
  'bad-request',
  'unsupported',
  'too-large',
  'no-such-process',
  'not-found',
  'cannot-invoke',
  'no-such-user',
  'setup-failed',
] as const;
/**
 * Why a request failed: `not-found` is exit code 127, `cannot-invoke` 126, every other 125.
 */
export type AgentErrorKind = (typeof ERROR_KINDS)[number];

export interface ErrorFrame {
  type: 'error';
  /** Of the request that failed; 0 when it could not be read. */
  request: number;
  kind: AgentErrorKind;
  /** Linux errno, when one was the cause. */
  errno?: number;
  message: string;
}

/** Stream names, each at the index of its number. */
export const STREAMS = ['stdin', 'stdout', 'stderr', 'terminal'] as const;
export type StreamName = (typeof STREAMS)[number];

/** First and only frame of a stream connection; raw bytes follow. */
export interface StreamFrame {
  type: 'stream';
  process: number;
  stream: StreamName;
}

export interface PongFrame {
  type: 'pong';
  request: number;
}

export type AgentFrame = HelloFrame | StartedFrame | ExitedFrame | ErrorFrame | StreamFrame | PongFrame;
export type Frame = HostFrame | AgentFrame;

/** The other side broke the protocol, or a frame to send has a value out of range. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}
