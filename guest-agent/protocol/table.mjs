// The agent protocol in one table. generate.mjs makes of it:
//
//     protocol.h    the agent's numbers and decoded requests
//     rules.c       the agent's rules of decoding
//     PROTOCOL.md   the tables between its markers
//     in sandbox/agent/
//     frames.generated.ts        the host's types and constants
//     frame-tables.generated.ts  the host's rules of encoding and decoding
//
// To add an option, add a field here and run `npm run generate`.

const U16 = 0xffff;
const U32 = 0xffff_ffff;
/** Largest integer that the host can hold exactly. */
const SAFE = Number.MAX_SAFE_INTEGER;

/** @param {number} max @param {number} min */
const integer = (max, min = 0) => ({ kind: 'integer', min, max });
const flag = { kind: 'flag' };
/** All ones mean `unlimited`. */
const limit = { kind: 'limit' };
/** @param {string} of a list in `names` @param {number} first the number of its first name */
const choice = (of, first) => ({ kind: 'choice', of, first });
/** @param {string} of a list in `names`; a name stands for the bit of its index */
const bits = (of) => ({ kind: 'bits', of });
/** @param {number} max bytes */
const text = (max) => ({ kind: 'text', max });
/** An absolute path, at most PATH_MAX - 1 bytes. */
const path = { kind: 'path', max: 4095 };
/** Instructions of classic BPF. */
const program = { kind: 'program' };
/** @param {string} of a group in `groups` */
const group = (of) => ({ kind: 'group', of });

/**
 * A field that may be absent.
 *
 * @param {number} tag unique in its group; 32768 and up if a reader may ignore the field
 * @param {string} name the host's property; the agent's struct member is the same in snake case
 * @param {object} kind one of the above
 * @param {string} doc one line for the host's types and for PROTOCOL.md
 * @param {object} more `preset`: what the agent takes for an absent field, otherwise 0 or NULL;
 *   `c`: the struct member
 */
const optional = (tag, name, kind, doc, more = {}) => ({ tag, name, ...kind, doc, ...more });
/** A field without which the frame is malformed. */
const required = (tag, name, kind, doc, more) => ({ ...optional(tag, name, kind, doc, more), required: true });
/** A field that may come any number of times: a list. */
const repeated = (tag, name, kind, doc, more) => ({ ...optional(tag, name, kind, doc, more), repeated: true });

/** The kernel's MAX_ARG_STRLEN, without the NUL. */
const argument = text(131_071);
const accountName = text(255);
/** An IPv6 address with a prefix length. */
const address = text(49);
const processId = required(1, 'process', integer(U32, 1), 'id of the process');

export const limits = {
  PROTOCOL_VERSION: { value: 2, doc: 'Protocol version that `hello` carries.' },
  AGENT_PORT: { value: 1024, doc: "The host's vsock port for the control connection and, by default, for streams." },
  FRAME_HEADER_LENGTH: { value: 8, doc: 'Bytes of a frame header: u32 payload length, u16 type, u16 request.' },
  FIELD_HEADER_LENGTH: { value: 6, doc: 'Bytes of a field header: u16 tag, u32 length of the value.' },
  MAX_HOST_PAYLOAD: { value: 4 * 1024 * 1024, doc: 'Largest payload that the agent accepts, in bytes.' },
  MAX_AGENT_PAYLOAD: { value: 64 * 1024, doc: 'Largest payload that the host accepts from the agent, in bytes.' },
  FIRST_OPTIONAL_TAG: { value: 0x8000, doc: 'First tag that a reader may ignore if it does not know it.' },
  INSTRUCTION_SIZE: { value: 8, doc: 'Bytes of a BPF instruction: `struct sock_filter` (linux/filter.h).' },
  MAX_INSTRUCTIONS: { value: 4096, doc: 'Most instructions of a seccomp filter (BPF_MAXINSNS).' },
};

/** Lists of names. `first` is the number of the first name. */
export const names = {
  CAPABILITIES: {
    type: 'Capability',
    doc: 'Capability names; the index of each is its bit (linux/capability.h).',
    names: [
      ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
      ...['LINUX_IMMUTABLE', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_ADMIN', 'NET_RAW', 'IPC_LOCK', 'IPC_OWNER'],
      ...['SYS_MODULE', 'SYS_RAWIO', 'SYS_CHROOT', 'SYS_PTRACE', 'SYS_PACCT', 'SYS_ADMIN', 'SYS_BOOT', 'SYS_NICE'],
      ...['SYS_RESOURCE', 'SYS_TIME', 'SYS_TTY_CONFIG', 'MKNOD', 'LEASE', 'AUDIT_WRITE', 'AUDIT_CONTROL', 'SETFCAP'],
      ...['MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF'],
      'CHECKPOINT_RESTORE',
    ],
  },
  RLIMITS: {
    type: 'RlimitName',
    doc: 'Resource limit names; the index of each is its `RLIMIT_` number (x86-64).',
    names: [
      ...['cpu', 'fsize', 'data', 'stack', 'core', 'rss', 'nproc', 'nofile', 'memlock', 'as', 'locks', 'sigpending'],
      ...['msgqueue', 'nice', 'rtprio', 'rttime'],
    ],
  },
  DEVICE_ACCESS: {
    type: 'DeviceAccess',
    doc: 'What a container may do with a device; the index of each is its bit (linux/bpf.h, BPF_DEVCG_ACC_MKNOD).',
    names: ['mknod', 'read', 'write'],
  },
  NAMESPACES: {
    type: 'MachineNamespace',
    doc: 'Namespaces that containers of one machine may share; the index of each is its bit.',
    names: ['ipc', 'uts'],
  },
  ERROR_KINDS: {
    type: 'AgentErrorKind',
    doc: 'Why a request failed; the number of each is its index plus 1.',
    c: 'error_kind',
    prefix: 'ERROR',
    first: 1,
    names: [
      ['bad-request', 'The frame is malformed, or the request is impossible in this state.', 125],
      ['unsupported', 'The frame type or a field is unknown.', 125],
      ['too-large', 'The payload is over 4 MiB. It is skipped.', 125],
      ['no-such-process', 'There is no process, or none with a terminal, of that id.'],
      ['not-found', 'The program, its interpreter or its working directory does not exist.', 127],
      ['cannot-invoke', 'The program exists and cannot be executed.', 126],
      ['no-such-user', "The user or group is not in the image's files.", 125],
      ['setup-failed', 'Anything else; the message names the step.', 125],
      ['no-such-container', 'There is no container of that id.', 125],
    ],
  },
  STREAMS: {
    type: 'StreamName',
    doc: 'Stream names; the index of each is its number.',
    c: 'stream_kind',
    prefix: 'STREAM',
    first: 0,
    names: ['stdin', 'stdout', 'stderr', 'terminal'],
  },
};

/** Groups of fields, those used by others first. `type` is the host's name for the group. */
export const groups = {
  terminal: {
    type: 'TerminalSize',
    doc: 'The size of a terminal in characters.',
    fields: [required(1, 'columns', integer(U16), 'characters in a line'), required(2, 'rows', integer(U16), 'lines')],
  },
  rlimit: {
    type: 'Rlimit',
    doc: 'A resource limit of a process.',
    fields: [
      required(1, 'name', choice('RLIMITS', 0), 'the `RLIMIT_` number', { c: 'resource' }),
      required(2, 'soft', limit, "in the resource's unit"),
      required(3, 'hard', limit, "in the resource's unit"),
    ],
  },
  root: {
    type: 'RootSpec',
    doc: "The container's root file system.",
    fields: [
      optional(1, 'device', path, 'EROFS block device of the image: `/dev/vda`; absent: `share` is the root'),
      optional(2, 'scratch', path, 'ext4 block device of the writable layer: `/dev/vdb`; absent: a tmpfs'),
      optional(3, 'tmpfsSize', integer(SAFE), 'bytes of that tmpfs; 0 or absent: half of the memory'),
      optional(4, 'readonly', flag, 'the container cannot write to its root'),
      optional(5, 'share', integer(99_999), 'a folder of the virtio-fs device `tsvm`, in place of all disks', {
        preset: U32,
      }),
    ],
  },
  tmpfs: {
    type: 'TmpfsMount',
    doc: "A tmpfs in the container. nosuid, nodev and noexec unless a flag says otherwise, as Docker's.",
    fields: [
      required(1, 'path', path, 'mount point; made if missing'),
      optional(2, 'size', integer(SAFE), 'bytes; 0 or absent: half of the memory'),
      optional(3, 'mode', integer(0o7777), 'permission bits; absent: those of the directory there, or 01777', {
        preset: U16,
      }),
      optional(4, 'uid', integer(U32), 'owner; absent: root'),
      optional(5, 'gid', integer(U32), 'group; absent: root'),
      optional(6, 'readonly', flag, 'mount it read-only'),
      optional(7, 'exec', flag, 'allow the execution of programs'),
      optional(8, 'suid', flag, 'honour set-user-ID bits'),
      optional(9, 'dev', flag, 'honour device files'),
      optional(10, 'copyUp', flag, 'it begins with what the directory there contains'),
    ],
  },
  share: {
    type: 'ShareMount',
    doc: 'A folder or file of the host in the container, from the virtio-fs device `tsvm`. nodev.',
    fields: [
      required(1, 'index', integer(99_999), 'its name on the virtio-fs device'),
      required(2, 'path', path, 'mount point; made if missing, as a folder or a file'),
      optional(3, 'readonly', flag, 'mount it read-only'),
      optional(4, 'noexec', flag, 'allow no execution of programs'),
      optional(5, 'nosuid', flag, 'honour no set-user-ID bits'),
    ],
  },
  device: {
    type: 'DeviceSpec',
    doc: 'A device of the machine in the container. A `/dev/loopN` is made if it is missing.',
    fields: [
      required(1, 'path', path, "in the machine's `/dev`: `/dev/fuse`"),
      required(2, 'target', path, 'in the container; folders are made if missing'),
      required(3, 'access', bits('DEVICE_ACCESS'), 'what the container may do with it, one bit each'),
    ],
  },
  network: {
    type: 'InterfaceSpec',
    doc: "A network interface of the machine's besides the loopback interface.",
    fields: [
      required(1, 'interface', text(15), '`eth0`'),
      repeated(2, 'addresses', address, 'with a prefix length: `198.19.0.2/32`, `fd74:7376:6d::2/128`'),
      repeated(3, 'gateways', address, 'of default routes, for IPv4 and IPv6; on the link, whatever their network'),
      optional(4, 'mac', text(17), "hardware address to set: `52:54:00:12:34:56`; absent: the device's own"),
      repeated(
        5,
        'routes',
        text(1024),
        'rtnetlink(7) in hex, `RTA_OIF` being set here; with any, addresses bring none',
      ),
    ],
  },
  limits: {
    type: 'Limits',
    doc: "Limits of the container's cgroup (cgroup v2). Absent or 0: no limit.",
    fields: [
      optional(1, 'memory', integer(SAFE), '`memory.max`, bytes'),
      optional(2, 'pids', integer(SAFE), '`pids.max`, processes and threads'),
      optional(3, 'cpuQuota', integer(SAFE), '`cpu.max`, microseconds of CPU time in each period'),
      optional(4, 'cpuPeriod', integer(SAFE), 'microseconds; 0 or absent: 100000'),
    ],
  },
  capabilitySets: {
    type: 'CapabilitySets',
    doc: 'The capabilities of a process beside its bounding set, one bit each. Absent: none.',
    fields: [
      optional(1, 'permitted', bits('CAPABILITIES'), 'the permitted set'),
      optional(2, 'effective', bits('CAPABILITIES'), 'the effective set'),
      optional(3, 'inheritable', bits('CAPABILITIES'), 'the inheritable set'),
      optional(4, 'ambient', bits('CAPABILITIES'), 'the ambient set'),
    ],
  },
  sysctl: {
    type: 'Sysctl',
    doc: "A kernel parameter, set in the container's namespaces before its first process starts.",
    fields: [
      required(1, 'path', text(255), 'below `/proc/sys`: `net/ipv4/ip_forward`'),
      required(2, 'value', text(4095), 'what is written to the file'),
    ],
  },
  secret: {
    type: 'SecretFile',
    doc: 'A file in the memory of the machine.',
    fields: [
      required(1, 'name', text(255), 'without `/`, not `.` or `..`'),
      required(2, 'contents', text(1024 * 1024), 'what it has'),
    ],
  },
  hook: {
    type: 'HookSpec',
    doc: 'A program of the container that runs before its own does.',
    fields: [
      required(1, 'path', path, 'in the container'),
      repeated(2, 'argv', argument, 'absent: the path alone'),
      repeated(3, 'env', argument, 'all of its environment'),
      optional(4, 'timeout', integer(0x7fff_ffff), 'seconds until it is killed; 0 or absent: no limit'),
    ],
  },
  identity: {
    type: 'ContainerIdentity',
    doc: 'What a container of a cloned machine has instead of what its original has.',
    fields: [
      required(1, 'container', integer(U32, 1), 'id of the container'),
      required(2, 'hostname', text(64), 'host name of the container'),
      required(3, 'machineId', text(32), 'of machine-id(5), 32 lower-case hex digits; for a container that has one'),
      optional(4, 'hosts', text(4 * 1024 * 1024), 'contents of `/etc/hosts`; absent: left alone'),
      optional(5, 'resolvConf', text(4 * 1024 * 1024), 'contents of `/etc/resolv.conf`; absent: left alone'),
    ],
  },
};

/**
 * Frames. `type` is the host's name for the frame; `request`: the header carries the number of the
 * request.
 */
export const frames = {
  machine: {
    number: 0x01,
    from: 'host',
    type: 'MachineRequest',
    doc: 'Sets the machine up.',
    fields: [
      optional(1, 'clock', integer(SAFE), 'wall clock to set, microseconds since the epoch; 0 or absent: left alone'),
      optional(2, 'network', group('network'), 'absent: only the loopback interface'),
      optional(3, 'shares', flag, 'mount the virtio-fs device `tsvm`, which containers take their shares from'),
      repeated(4, 'moreNetworks', group('network'), 'further interfaces'),
    ],
  },
  container: {
    number: 0x02,
    from: 'host',
    type: 'ContainerRequest',
    doc: 'Makes a container, without a process.',
    fields: [
      required(1, 'id', integer(U32, 1), "the host's name for the container, until it is removed"),
      required(2, 'hostname', text(64), 'host name of the container'),
      required(3, 'root', group('root'), 'the root file system'),
      repeated(4, 'tmpfs', group('tmpfs'), 'tmpfs mounts'),
      repeated(5, 'shares', group('share'), 'folders and files of the host'),
      optional(6, 'hosts', text(4 * 1024 * 1024), "contents of `/etc/hosts`; absent: the image's own"),
      optional(7, 'resolvConf', text(4 * 1024 * 1024), "contents of `/etc/resolv.conf`; absent: the image's own"),
      optional(8, 'shmSize', integer(SAFE), 'bytes of `/dev/shm`; absent: 64 MiB', { preset: 64 * 1024 * 1024 }),
      optional(9, 'limits', group('limits'), 'limits of the cgroup'),
      repeated(10, 'sysctls', group('sysctl'), 'kernel parameters'),
      optional(11, 'privileged', flag, 'all devices of the machine; `/proc`, `/sys` and cgroups are writable'),
      optional(12, 'init', flag, "process 1 of the container is the agent's, which reaps; the program is its child"),
      repeated(13, 'devices', group('device'), 'devices of the machine, beside those that every container has'),
      repeated(14, 'secrets', group('secret'), 'files of a read-only tmpfs at `/run/secrets`; absent: there is none'),
      optional(15, 'joined', bits('NAMESPACES'), "the machine's own that it is in, one bit each; absent: none"),
      optional(16, 'processesOf', integer(U32, 1), 'container whose pid namespace it is in; absent: one of its own'),
    ],
  },
  process: {
    number: 0x03,
    from: 'host',
    type: 'ProcessRequest',
    doc: 'Starts a process in a container. The first one is process 1 of the container.',
    fields: [
      required(1, 'container', integer(U32, 1), 'id of the container'),
      required(2, 'id', integer(U32, 1), "the host's name for the process; never used again"),
      repeated(3, 'argv', argument, "argv[0] without a slash is searched for in the container's `PATH`", {
        required: true,
      }),
      repeated(4, 'env', argument, '`NAME=value`; see "The container" for what is added'),
      optional(5, 'cwd', path, 'working directory; the first process of a container makes it if missing', {
        preset: '/',
      }),
      optional(6, 'user', accountName, '`user[:group]`, see "The container"; absent: root', { preset: '' }),
      repeated(7, 'groups', accountName, 'more supplementary groups, names or numbers'),
      optional(8, 'terminal', group('terminal'), 'one `terminal` stream instead of pipes'),
      optional(9, 'stdin', flag, 'open a `stdin` stream; otherwise stdin is `/dev/null`. No effect on a terminal', {
        c: 'open_stdin',
      }),
      optional(10, 'capabilities', bits('CAPABILITIES'), "the bounding set, one bit each; absent: Docker's 14", {
        preset: 0xa804_25fb,
      }),
      optional(11, 'noNewPrivileges', flag, 'set no_new_privs (prctl(2))'),
      repeated(12, 'rlimits', group('rlimit'), 'resource limits'),
      optional(13, 'seccomp', program, 'filter of system calls (seccomp(2)), see "The container"'),
      optional(14, 'port', integer(U32 - 1, 1024), "the host's vsock port for the streams", { preset: 1024 }),
      optional(15, 'tool', flag, 'argv names a tool of the agent, which runs as root; see "Tools"'),
      optional(16, 'exact', flag, '`user` and `groups` are numbers, and all there are; see "The container"'),
      optional(17, 'capabilitySets', group('capabilitySets'), "absent: root's are the bounding set, others have none"),
      optional(18, 'umask', integer(0o777), 'file mode creation mask; absent: 022', { preset: 0o22 }),
      repeated(19, 'hooks', group('hook'), 'run in their order before the program'),
      optional(20, 'hookState', text(1024 * 1024), 'what they have on standard input', { preset: '' }),
    ],
  },
  signal: {
    number: 0x04,
    from: 'host',
    type: 'SignalRequest',
    doc: 'Sends a signal to a process. Answered only by `error`.',
    fields: [
      processId,
      required(2, 'signal', integer(64, 1), 'signal number'),
      optional(3, 'group', flag, 'signals all processes of its process group'),
    ],
  },
  resize: {
    number: 0x05,
    from: 'host',
    type: 'ResizeRequest',
    doc: 'Sets the size of a terminal. Answered only by `error`.',
    fields: [
      processId,
      required(2, 'columns', integer(U16), 'characters in a line'),
      required(3, 'rows', integer(U16), 'lines'),
    ],
  },
  remove: {
    number: 0x06,
    from: 'host',
    type: 'RemoveRequest',
    doc: 'Removes a container that no process runs in.',
    fields: [required(1, 'container', integer(U32, 1), 'id of the container, which is free afterwards')],
  },
  shutdown: {
    number: 0x07,
    from: 'host',
    type: 'ShutdownRequest',
    doc: 'Kills all processes, writes the disks out and stops the machine. Never answered.',
    fields: [],
  },
  ping: { number: 0x08, from: 'host', type: 'PingRequest', doc: 'Answered by `pong`.', fields: [] },
  freeze: {
    number: 0x09,
    from: 'host',
    type: 'FreezeRequest',
    doc: 'Stops all processes of all containers where they are, and writes the disks out.',
    fields: [
      optional(
        1,
        'timeout',
        integer(60_000),
        'milliseconds in which the machine runs, for all processes to stop; absent: 5000',
        {
          preset: 5000,
        },
      ),
    ],
  },
  thaw: {
    number: 0x0a,
    from: 'host',
    type: 'ThawRequest',
    doc: 'Makes a restored machine different from its snapshot, and only then lets its processes run.',
    fields: [
      optional(1, 'entropy', text(1024), 'random bytes of the host as hex digits, at least 64 bytes', { preset: '' }),
      optional(2, 'clock', integer(SAFE), 'wall clock to set, microseconds since the epoch; 0 or absent: left alone'),
      optional(3, 'generation', text(36), 'UUID that no other machine has; containers see it in a file'),
      optional(4, 'bootId', text(36), 'UUID that containers see as `boot_id` of the kernel; makes the machine a clone'),
      optional(5, 'network', group('network'), 'of a clone; absent: the network is left alone'),
      repeated(6, 'identities', group('identity'), 'of a clone: one for each container'),
    ],
  },
  hello: {
    number: 0x81,
    from: 'agent',
    type: 'HelloFrame',
    request: false,
    doc: 'The first frame of the control connection.',
    fields: [
      required(1, 'protocol', integer(U32), 'protocol version'),
      required(2, 'agent', text(255), "the agent's version"),
      required(3, 'kernel', text(255), "the guest kernel's release (`uname -r`)"),
      optional(4, 'running', integer(SAFE), 'microseconds since the agent started'),
      optional(5, 'frozen', flag, 'the machine was restored, and its processes wait for `thaw`'),
      optional(6, 'processes', integer(256), 'number of `running` frames that follow'),
    ],
  },
  started: {
    number: 0x82,
    from: 'agent',
    type: 'StartedFrame',
    doc: 'The program was executed.',
    fields: [processId, required(2, 'pid', integer(U32, 1), "in the guest's outermost pid namespace")],
  },
  exited: {
    number: 0x83,
    from: 'agent',
    type: 'ExitedFrame',
    request: false,
    doc: 'A process is dead. Has exactly one of `code` and `signal`. May come before the last bytes of its streams.',
    fields: [
      processId,
      optional(2, 'code', integer(255), 'exit code'),
      optional(3, 'signal', integer(64, 1), 'the signal that killed it'),
      required(4, 'container', integer(U32, 1), "id of the process's container"),
      optional(5, 'oomKilled', flag, 'the kernel killed a process of the container for lack of memory'),
    ],
  },
  error: {
    number: 0x84,
    from: 'agent',
    type: 'ErrorFrame',
    doc: 'A request failed. Each request gets at most one. The request is 0 if it could not be read.',
    fields: [
      required(1, 'kind', choice('ERROR_KINDS', 1), 'see below'),
      optional(2, 'errno', integer(4095), "Linux's number, if there is one"),
      required(3, 'message', text(8192), 'one sentence for a person; the agent sends at most 511 bytes'),
    ],
  },
  stream: {
    number: 0x85,
    from: 'agent',
    type: 'StreamFrame',
    request: false,
    doc: 'The first and only frame of a stream connection; raw bytes follow.',
    fields: [processId, required(2, 'stream', choice('STREAMS', 0), 'which stream')],
  },
  pong: { number: 0x86, from: 'agent', type: 'PongFrame', doc: 'Answers `ping`.', fields: [] },
  done: {
    number: 0x87,
    from: 'agent',
    type: 'DoneFrame',
    doc: 'Answers `machine`, `container`, `remove`, `freeze` and `thaw`.',
    fields: [],
  },
  running: {
    number: 0x88,
    from: 'agent',
    type: 'RunningFrame',
    request: false,
    doc: 'A process of a restored machine. Follows `hello`.',
    fields: [
      processId,
      required(2, 'container', integer(U32, 1), 'id of its container'),
      required(3, 'pid', integer(U32, 1), "in the guest's outermost pid namespace"),
    ],
  },
};
