// The frames of the agent protocol as plain objects. Specification: guest-agent/PROTOCOL.md.
// Generated from guest-agent/protocol/table.mjs by `npm run generate`: do not edit.

/** Protocol version that `hello` carries. */
export const PROTOCOL_VERSION = 2;
/** The host's vsock port for the control connection and, by default, for streams. */
export const AGENT_PORT = 1024;
/** Bytes of a frame header: u32 payload length, u16 type, u16 request. */
export const FRAME_HEADER_LENGTH = 8;
/** Bytes of a field header: u16 tag, u32 length of the value. */
export const FIELD_HEADER_LENGTH = 6;
/** Largest payload that the agent accepts, in bytes. */
export const MAX_HOST_PAYLOAD = 4194304;
/** Largest payload that the host accepts from the agent, in bytes. */
export const MAX_AGENT_PAYLOAD = 65536;
/** First tag that a reader may ignore if it does not know it. */
export const FIRST_OPTIONAL_TAG = 32768;
/** Bytes of a BPF instruction: `struct sock_filter` (linux/filter.h). */
export const INSTRUCTION_SIZE = 8;
/** Most instructions of a seccomp filter (BPF_MAXINSNS). */
export const MAX_INSTRUCTIONS = 4096;

/** Capability names; the index of each is its bit (linux/capability.h). */
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

/** Resource limit names; the index of each is its `RLIMIT_` number (x86-64). */
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

/** What a container may do with a device; the index of each is its bit (linux/bpf.h, BPF_DEVCG_ACC_MKNOD). */
export const DEVICE_ACCESS = ['mknod', 'read', 'write'] as const;
export type DeviceAccess = (typeof DEVICE_ACCESS)[number];

/** Namespaces that containers of one machine may share; the index of each is its bit. */
export const NAMESPACES = ['ipc', 'uts'] as const;
export type MachineNamespace = (typeof NAMESPACES)[number];

/** Why a request failed; the number of each is its index plus 1. */
export const ERROR_KINDS = [
  /** The frame is malformed, or the request is impossible in this state. Exit code 125. */
  'bad-request',
  /** The frame type or a field is unknown. Exit code 125. */
  'unsupported',
  /** The payload is over 4 MiB. It is skipped. Exit code 125. */
  'too-large',
  /** There is no process, or none with a terminal, of that id. */
  'no-such-process',
  /** The program, its interpreter or its working directory does not exist. Exit code 127. */
  'not-found',
  /** The program exists and cannot be executed. Exit code 126. */
  'cannot-invoke',
  /** The user or group is not in the image's files. Exit code 125. */
  'no-such-user',
  /** Anything else; the message names the step. Exit code 125. */
  'setup-failed',
  /** There is no container of that id. Exit code 125. */
  'no-such-container',
] as const;
export type AgentErrorKind = (typeof ERROR_KINDS)[number];

/** Stream names; the index of each is its number. */
export const STREAMS = ['stdin', 'stdout', 'stderr', 'terminal'] as const;
export type StreamName = (typeof STREAMS)[number];

/** An instruction of classic BPF: `struct sock_filter` (linux/filter.h). */
export interface BpfInstruction {
  /** 16 bits. */
  code: number;
  /** Instructions to skip if a jump's condition holds: 0 to 255. */
  jt: number;
  /** Instructions to skip if it does not: 0 to 255. */
  jf: number;
  /** 32 bits, unsigned. */
  k: number;
}

/** The size of a terminal in characters. */
export interface TerminalSize {
  /** Characters in a line. */
  columns: number;
  /** Lines. */
  rows: number;
}

/** A resource limit of a process. */
export interface Rlimit {
  /** The `RLIMIT_` number. */
  name: RlimitName;
  /** In the resource's unit. */
  soft: number | 'unlimited';
  /** In the resource's unit. */
  hard: number | 'unlimited';
}

/** The container's root file system. */
export interface RootSpec {
  /** EROFS block device of the image: `/dev/vda`; absent: `share` is the root. */
  device?: string | undefined;
  /** Ext4 block device of the writable layer: `/dev/vdb`; absent: a tmpfs. */
  scratch?: string | undefined;
  /** Bytes of that tmpfs; 0 or absent: half of the memory. */
  tmpfsSize?: number | undefined;
  /** The container cannot write to its root. */
  readonly?: boolean | undefined;
  /** A folder of the virtio-fs device `tsvm`, in place of all disks. */
  share?: number | undefined;
}

/** A tmpfs in the container. nosuid, nodev and noexec unless a flag says otherwise, as Docker's. */
export interface TmpfsMount {
  /** Mount point; made if missing. */
  path: string;
  /** Bytes; 0 or absent: half of the memory. */
  size?: number | undefined;
  /** Permission bits; absent: those of the directory there, or 01777. */
  mode?: number | undefined;
  /** Owner; absent: root. */
  uid?: number | undefined;
  /** Group; absent: root. */
  gid?: number | undefined;
  /** Mount it read-only. */
  readonly?: boolean | undefined;
  /** Allow the execution of programs. */
  exec?: boolean | undefined;
  /** Honour set-user-ID bits. */
  suid?: boolean | undefined;
  /** Honour device files. */
  dev?: boolean | undefined;
  /** It begins with what the directory there contains. */
  copyUp?: boolean | undefined;
}

/** A folder or file of the host in the container, from the virtio-fs device `tsvm`. nodev. */
export interface ShareMount {
  /** Its name on the virtio-fs device. */
  index: number;
  /** Mount point; made if missing, as a folder or a file. */
  path: string;
  /** Mount it read-only. */
  readonly?: boolean | undefined;
  /** Allow no execution of programs. */
  noexec?: boolean | undefined;
  /** Honour no set-user-ID bits. */
  nosuid?: boolean | undefined;
}

/** A device of the machine in the container. A `/dev/loopN` is made if it is missing. */
export interface DeviceSpec {
  /** In the machine's `/dev`: `/dev/fuse`. */
  path: string;
  /** In the container; folders are made if missing. */
  target: string;
  /** What the container may do with it, one bit each. */
  access: DeviceAccess[];
}

/** A network interface of the machine's besides the loopback interface. */
export interface InterfaceSpec {
  /** `eth0`. */
  interface: string;
  /** With a prefix length: `198.19.0.2/32`, `fd74:7376:6d::2/128`. */
  addresses?: string[] | undefined;
  /** Of default routes, for IPv4 and IPv6; on the link, whatever their network. */
  gateways?: string[] | undefined;
  /** Hardware address to set: `52:54:00:12:34:56`; absent: the device's own. */
  mac?: string | undefined;
  /** Rtnetlink(7) in hex, `RTA_OIF` being set here; with any, addresses bring none. */
  routes?: string[] | undefined;
}

/** Limits of the container's cgroup (cgroup v2). Absent or 0: no limit. */
export interface Limits {
  /** `memory.max`, bytes. */
  memory?: number | undefined;
  /** `pids.max`, processes and threads. */
  pids?: number | undefined;
  /** `cpu.max`, microseconds of CPU time in each period. */
  cpuQuota?: number | undefined;
  /** Microseconds; 0 or absent: 100000. */
  cpuPeriod?: number | undefined;
}

/** The capabilities of a process beside its bounding set, one bit each. Absent: none. */
export interface CapabilitySets {
  /** The permitted set. */
  permitted?: Capability[] | undefined;
  /** The effective set. */
  effective?: Capability[] | undefined;
  /** The inheritable set. */
  inheritable?: Capability[] | undefined;
  /** The ambient set. */
  ambient?: Capability[] | undefined;
}

/** A kernel parameter, set in the container's namespaces before its first process starts. */
export interface Sysctl {
  /** Below `/proc/sys`: `net/ipv4/ip_forward`. */
  path: string;
  /** What is written to the file. */
  value: string;
}

/** A file in the memory of the machine. */
export interface SecretFile {
  /** Without `/`, not `.` or `..`. */
  name: string;
  /** What it has. */
  contents: string;
}

/** A program of the container that runs before its own does. */
export interface HookSpec {
  /** In the container. */
  path: string;
  /** Absent: the path alone. */
  argv?: string[] | undefined;
  /** All of its environment. */
  env?: string[] | undefined;
  /** Seconds until it is killed; 0 or absent: no limit. */
  timeout?: number | undefined;
}

/** What a container of a cloned machine has instead of what its original has. */
export interface ContainerIdentity {
  /** Id of the container. */
  container: number;
  /** Host name of the container. */
  hostname: string;
  /** Of machine-id(5), 32 lower-case hex digits; for a container that has one. */
  machineId: string;
  /** Contents of `/etc/hosts`; absent: left alone. */
  hosts?: string | undefined;
  /** Contents of `/etc/resolv.conf`; absent: left alone. */
  resolvConf?: string | undefined;
}

/** Sets the machine up. */
export interface MachineRequest {
  type: 'machine';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Wall clock to set, microseconds since the epoch; 0 or absent: left alone. */
  clock?: number | undefined;
  /** Absent: only the loopback interface. */
  network?: InterfaceSpec | undefined;
  /** Mount the virtio-fs device `tsvm`, which containers take their shares from. */
  shares?: boolean | undefined;
  /** Further interfaces. */
  moreNetworks?: InterfaceSpec[] | undefined;
}

/** Makes a container, without a process. */
export interface ContainerRequest {
  type: 'container';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** The host's name for the container, until it is removed. */
  id: number;
  /** Host name of the container. */
  hostname: string;
  /** The root file system. */
  root: RootSpec;
  /** Tmpfs mounts. */
  tmpfs?: TmpfsMount[] | undefined;
  /** Folders and files of the host. */
  shares?: ShareMount[] | undefined;
  /** Contents of `/etc/hosts`; absent: the image's own. */
  hosts?: string | undefined;
  /** Contents of `/etc/resolv.conf`; absent: the image's own. */
  resolvConf?: string | undefined;
  /** Bytes of `/dev/shm`; absent: 64 MiB. */
  shmSize?: number | undefined;
  /** Limits of the cgroup. */
  limits?: Limits | undefined;
  /** Kernel parameters. */
  sysctls?: Sysctl[] | undefined;
  /** All devices of the machine; `/proc`, `/sys` and cgroups are writable. */
  privileged?: boolean | undefined;
  /** Process 1 of the container is the agent's, which reaps; the program is its child. */
  init?: boolean | undefined;
  /** Devices of the machine, beside those that every container has. */
  devices?: DeviceSpec[] | undefined;
  /** Files of a read-only tmpfs at `/run/secrets`; absent: there is none. */
  secrets?: SecretFile[] | undefined;
  /** The machine's own that it is in, one bit each; absent: none. */
  joined?: MachineNamespace[] | undefined;
  /** Container whose pid namespace it is in; absent: one of its own. */
  processesOf?: number | undefined;
}

/** Starts a process in a container. The first one is process 1 of the container. */
export interface ProcessRequest {
  type: 'process';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Id of the container. */
  container: number;
  /** The host's name for the process; never used again. */
  id: number;
  /** Argv[0] without a slash is searched for in the container's `PATH`. */
  argv: string[];
  /** `NAME=value`; see "The container" for what is added. */
  env?: string[] | undefined;
  /** Working directory; the first process of a container makes it if missing. */
  cwd?: string | undefined;
  /** `user[:group]`, see "The container"; absent: root. */
  user?: string | undefined;
  /** More supplementary groups, names or numbers. */
  groups?: string[] | undefined;
  /** One `terminal` stream instead of pipes. */
  terminal?: TerminalSize | undefined;
  /** Open a `stdin` stream; otherwise stdin is `/dev/null`. No effect on a terminal. */
  stdin?: boolean | undefined;
  /** The bounding set, one bit each; absent: Docker's 14. */
  capabilities?: Capability[] | undefined;
  /** Set no_new_privs (prctl(2)). */
  noNewPrivileges?: boolean | undefined;
  /** Resource limits. */
  rlimits?: Rlimit[] | undefined;
  /** Filter of system calls (seccomp(2)), see "The container". */
  seccomp?: readonly BpfInstruction[] | undefined;
  /** The host's vsock port for the streams. */
  port?: number | undefined;
  /** Argv names a tool of the agent, which runs as root; see "Tools". */
  tool?: boolean | undefined;
  /** `user` and `groups` are numbers, and all there are; see "The container". */
  exact?: boolean | undefined;
  /** Absent: root's are the bounding set, others have none. */
  capabilitySets?: CapabilitySets | undefined;
  /** File mode creation mask; absent: 022. */
  umask?: number | undefined;
  /** Run in their order before the program. */
  hooks?: HookSpec[] | undefined;
  /** What they have on standard input. */
  hookState?: string | undefined;
}

/** Sends a signal to a process. Answered only by `error`. */
export interface SignalRequest {
  type: 'signal';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Id of the process. */
  process: number;
  /** Signal number. */
  signal: number;
  /** Signals all processes of its process group. */
  group?: boolean | undefined;
}

/** Sets the size of a terminal. Answered only by `error`. */
export interface ResizeRequest {
  type: 'resize';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Id of the process. */
  process: number;
  /** Characters in a line. */
  columns: number;
  /** Lines. */
  rows: number;
}

/** Removes a container that no process runs in. */
export interface RemoveRequest {
  type: 'remove';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Id of the container, which is free afterwards. */
  container: number;
}

/** Kills all processes, writes the disks out and stops the machine. Never answered. */
export interface ShutdownRequest {
  type: 'shutdown';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
}

/** Answered by `pong`. */
export interface PingRequest {
  type: 'ping';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
}

/** Stops all processes of all containers where they are, and writes the disks out. */
export interface FreezeRequest {
  type: 'freeze';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Milliseconds in which the machine runs, for all processes to stop; absent: 5000. */
  timeout?: number | undefined;
}

/** Makes a restored machine different from its snapshot, and only then lets its processes run. */
export interface ThawRequest {
  type: 'thaw';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Random bytes of the host as hex digits, at least 64 bytes. */
  entropy?: string | undefined;
  /** Wall clock to set, microseconds since the epoch; 0 or absent: left alone. */
  clock?: number | undefined;
  /** UUID that no other machine has; containers see it in a file. */
  generation?: string | undefined;
  /** UUID that containers see as `boot_id` of the kernel; makes the machine a clone. */
  bootId?: string | undefined;
  /** Of a clone; absent: the network is left alone. */
  network?: InterfaceSpec | undefined;
  /** Of a clone: one for each container. */
  identities?: ContainerIdentity[] | undefined;
}

/** The first frame of the control connection. */
export interface HelloFrame {
  type: 'hello';
  /** Protocol version. */
  protocol: number;
  /** The agent's version. */
  agent: string;
  /** The guest kernel's release (`uname -r`). */
  kernel: string;
  /** Microseconds since the agent started. */
  running?: number;
  /** The machine was restored, and its processes wait for `thaw`. */
  frozen?: boolean;
  /** Number of `running` frames that follow. */
  processes?: number;
}

/** The program was executed. */
export interface StartedFrame {
  type: 'started';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** Id of the process. */
  process: number;
  /** In the guest's outermost pid namespace. */
  pid: number;
}

/** A process is dead. Has exactly one of `code` and `signal`. May come before the last bytes of its streams. */
export interface ExitedFrame {
  type: 'exited';
  /** Id of the process. */
  process: number;
  /** Exit code. */
  code?: number;
  /** The signal that killed it. */
  signal?: number;
  /** Id of the process's container. */
  container: number;
  /** The kernel killed a process of the container for lack of memory. */
  oomKilled?: boolean;
}

/** A request failed. Each request gets at most one. The request is 0 if it could not be read. */
export interface ErrorFrame {
  type: 'error';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
  /** See below. */
  kind: AgentErrorKind;
  /** Linux's number, if there is one. */
  errno?: number;
  /** One sentence for a person; the agent sends at most 511 bytes. */
  message: string;
}

/** The first and only frame of a stream connection; raw bytes follow. */
export interface StreamFrame {
  type: 'stream';
  /** Id of the process. */
  process: number;
  /** Which stream. */
  stream: StreamName;
}

/** Answers `ping`. */
export interface PongFrame {
  type: 'pong';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
}

/** Answers `machine`, `container`, `remove`, `freeze` and `thaw`. */
export interface DoneFrame {
  type: 'done';
  /** Number of the request, 1 to 65535; answers carry it. */
  request: number;
}

/** A process of a restored machine. Follows `hello`. */
export interface RunningFrame {
  type: 'running';
  /** Id of the process. */
  process: number;
  /** Id of its container. */
  container: number;
  /** In the guest's outermost pid namespace. */
  pid: number;
}

export type HostFrame =
  | MachineRequest
  | ContainerRequest
  | ProcessRequest
  | SignalRequest
  | ResizeRequest
  | RemoveRequest
  | ShutdownRequest
  | PingRequest
  | FreezeRequest
  | ThawRequest;
export type AgentFrame =
  | HelloFrame
  | StartedFrame
  | ExitedFrame
  | ErrorFrame
  | StreamFrame
  | PongFrame
  | DoneFrame
  | RunningFrame;
export type Frame = HostFrame | AgentFrame;
