// The system calls of a machine process whose guest runs, as profiles in Docker's format
// (seccomp/profile.ts). The process takes the filter when all its threads have started and nothing
// is left to open, and before the guest can have made it do anything. It is never taken back.
// test/unit/vmm/accel/system-calls.test.ts counts the calls.
import type { BpfInstruction } from '../../seccomp/bpf.js';
import { compileProfile } from '../../seccomp/compile.js';
import type { Action, ArgumentCondition, SeccompProfile, SyscallRule } from '../../seccomp/profile.js';
import * as fixed from '../host/fixed-arguments.js';
import * as libc from '../host/libc.js';
import { IOCTLS, type IoctlName } from '../kvm/ioctl.js';
import type { SystemCallFilter } from '../machine.js';

const EPERM = 1;
const PROT_EXEC = 4;
const MAP_FIXED = 0x10;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
const PR_SET_SECUREBITS = 28;
const FS_IOC_FIEMAP = 0xc020660b;
const FICLONERANGE = 0x4020940d;

/** What the filter of a machine process depends on. */
export interface FilteredMachine {
  /** The machine has a virtio-fs device. */
  hasShares: boolean;
  hasNetwork: boolean;
  /** A share has a budget of bytes and files. */
  hasBudget: boolean;
  /** The machine has the relay of TCP connections. */
  hasRelay: boolean;
  /** The descriptor for paths of files that are open (host/fixed-arguments.ts), where there are shares. */
  slot: number;
  /** Files that are no share's have numbers from here on (host/kept-descriptors.ts). */
  firstKept: number;
  /** Files are made as any user: the machine process has root's capabilities for that. */
  canSwitchUser: boolean;
  /** QEMU runs the guest, and not KVM. */
  isEmulated: boolean;
}

const isEqual = (index: number, value: number): ArgumentCondition => ({ index, op: 'SCMP_CMP_EQ', value });
const isAtLeast = (index: number, value: number): ArgumentCondition => ({ index, op: 'SCMP_CMP_GE', value });
const lacks = (index: number, bits: number): ArgumentCondition => ({
  index,
  op: 'SCMP_CMP_MASKED_EQ',
  value: bits,
  valueTwo: 0,
});
/** An address in fixed memory of this size, a power of two, which starts 32 bytes at a time. */
const within = (index: number, start: number, size: number): ArgumentCondition => ({
  index,
  op: 'SCMP_CMP_MASKED_EQ',
  // The kernel refuses an address with one of the higher bits.
  value: Number.MAX_SAFE_INTEGER - (size - 32),
  valueTwo: start,
});
const allow = (names: string[], args: ArgumentCondition[] = []): SyscallRule => ({
  names,
  action: 'SCMP_ACT_ALLOW',
  args,
});
const fail = (names: string[], errnoRet: number): SyscallRule => ({ names, action: 'SCMP_ACT_ERRNO', errnoRet });
/** Each of the values of an argument. */
const oneOf = (index: number, values: readonly number[]): ArgumentCondition[] =>
  values.map((value) => isEqual(index, value));
/** Options of sockets: level and name. */
const options = (call: string, ...pairs: [level: number, name: number][]): SyscallRule[] =>
  pairs.map(([level, name]) => allow([call], [isEqual(1, level), isEqual(2, name)]));

/** Clocks of other processes and of devices have higher numbers, or negative ones. */
const FIRST_OTHER_CLOCK = 16;
/**
 * linux/futex.h: WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET; of this process, and
 * of memory that processes share, by either clock. None that lends its priority to another thread.
 */
const FUTEX_OPERATIONS = [9, 10, 0, 1, 3, 4, 5];
const FUTEX_COMMAND = 0x7f;
/**
 * linux/mman.h: DONTNEED, FREE, DONTFORK, HUGEPAGE, DONTDUMP, DODUMP of V8 and glibc; REMOVE and
 * DONTNEED of the balloon. None that merges pages with those of other processes.
 */
const ADVICE = [libc.MADV_DONTNEED, 8, libc.MADV_REMOVE, 10, 14, 16, 17];

/** V8 (compiler, garbage collector, its worker threads), and glibc's heap. No handler of a signal returns. */
const RUNTIME: SyscallRule[] = [
  ...FUTEX_OPERATIONS.map((operation) =>
    allow(['futex'], [{ index: 1, op: 'SCMP_CMP_MASKED_EQ', value: FUTEX_COMMAND, valueTwo: operation }]),
  ),
  allow(['mprotect']),
  // The fixed arguments stay where they are.
  allow(['munmap'], [isAtLeast(0, fixed.FIRST_FREE)]),
  allow(['madvise'], oneOf(2, ADVICE)),
  // As of a kernel without the advice, which V8 and glibc do without.
  { ...fail(['madvise'], libc.EINVAL), args: [{ index: 2, op: 'SCMP_CMP_GE', value: 0 }] },
  // Made by the vDSO without a system call, unless the host's clock cannot be read in user space.
  allow(['clock_gettime'], [{ index: 0, op: 'SCMP_CMP_LT', value: FIRST_OTHER_CLOCK }]),
  // V8 reserves the room of its code without access, and changes that by mprotect. Memory that is shared
  // is that of a file: the kernel's limit of private memory (RLIMIT_DATA) does not count it.
  ...[libc.MAP_SHARED, libc.MAP_ANONYMOUS].flatMap((one) => [
    allow(['mmap'], [isEqual(0, 0), lacks(2, PROT_EXEC), lacks(3, MAP_FIXED + one)]),
    allow(['mmap'], [isAtLeast(0, fixed.FIRST_FREE), lacks(2, PROT_EXEC), lacks(3, one)]),
  ]),
];

/** What fails without harm to its caller. */
const FAILING: SyscallRule[] = [
  // glibc and Node.js do without the files that they look up here.
  fail(['openat', 'open', 'newfstatat', 'readlink'], libc.EACCES),
  // As of a kernel without room there: glibc maps memory for its heap instead.
  fail(['brk'], 0),
  // glibc moves a large block of its heap by a copy instead.
  fail(['mremap'], libc.ENOMEM),
  // V8 and libuv spin a little longer. V8 puts the number into traces, which there are none of.
  fail(['sched_yield', 'clock_nanosleep', 'getpid'], EPERM),
  // The clock of dates, where it cannot be read in user space: V8's alone, and used by nothing here.
  fail(['gettimeofday'], EPERM),
  // A thread of V8 that first waits for a lock blocks signals while it notes who it is, and counts the
  // CPUs to know whether to spin (Abseil, in Node.js 24 and later). It goes on without.
  fail(['rt_sigprocmask', 'sched_getaffinity'], EPERM),
  // It also asks for its own priority. The answer is what glibc has: the usual one.
  fail(['sched_getparam', 'sched_getscheduler'], 0),
  // A wait with a deadline that SIGSTOP and SIGCONT interrupted ends early, as by any other signal.
  fail(['restart_syscall'], libc.EINTR),
];

/** Where there are no shares: Node.js does without here too. A path would tell of files of the host. */
const WITHOUT_SHARES: SyscallRule[] = [fail(['statx'], libc.EACCES)];

/** Of all threads but the vCPUs. */
const PROCESS: SyscallRule[] = [
  // The event loop. The thread of Node.js that runs V8's delayed tasks waits so too.
  allow(['epoll_pwait', 'epoll_ctl']),
  // The end of the machine.
  allow(['exit_group', 'close']),
  // Eventfds, pipes, the console, the control socket, disks, a tap interface, and streams.
  allow(['read', 'write', 'preadv2', 'pwritev2']),
  // Sockets come from the owner, and from listeners that it has opened.
  allow(['accept4', 'recvmsg', 'shutdown']),
  // virtio-blk.
  allow(['fdatasync', 'fallocate']),
  // How much of the guest's memory the host holds.
  allow(['fstat']),
];

/** The length of the queue of a socket to a peer. A guest may join a private network while it runs. */
const NETWORK: SyscallRule[] = options('setsockopt', [libc.SOL_SOCKET, libc.SO_SNDBUF]);

/** TCP sockets of the host (devices/net/relay), which the owner makes. */
const RELAY: SyscallRule[] = [
  ...options(
    'setsockopt',
    [libc.IPPROTO_TCP, libc.TCP_NODELAY],
    [libc.SOL_SOCKET, libc.SO_KEEPALIVE],
    [libc.SOL_SOCKET, libc.SO_OOBINLINE],
    [libc.SOL_SOCKET, libc.SO_LINGER],
  ),
  ...options('getsockopt', [libc.SOL_SOCKET, libc.SO_ERROR], [libc.SOL_SOCKET, libc.SO_MEMINFO]),
  allow(['getsockname']),
];

/** Reading the state of a machine that is saved, or that crashed. */
const SAVING: IoctlName[] = [
  'KVM_CHECK_EXTENSION',
  'KVM_GET_REGS',
  'KVM_GET_SREGS',
  'KVM_GET_MSR_INDEX_LIST',
  'KVM_GET_MSRS',
  'KVM_GET_LAPIC',
  'KVM_GET_MP_STATE',
  'KVM_GET_VCPU_EVENTS',
  'KVM_GET_DEBUGREGS',
  'KVM_GET_XSAVE',
  'KVM_GET_XSAVE2',
  'KVM_GET_XCRS',
  'KVM_GET_TSC_KHZ',
  'KVM_GET_IRQCHIP',
  'KVM_GET_PIT2',
  'KVM_GET_CLOCK',
  'KVM_KVMCLOCK_CTRL',
];

const requests = (names: readonly IoctlName[]) =>
  oneOf(
    1,
    names.map((name) => IOCTLS[name]),
  );

const KVM: SyscallRule[] = [
  // Which parts of a saved machine's memory were ever touched.
  allow(['lseek'], [isEqual(2, libc.SEEK_DATA)]),
  allow(['lseek'], [isEqual(2, libc.SEEK_HOLE)]),
  // The serial port's interrupt. The other devices have eventfds.
  allow(['ioctl'], requests(['KVM_RUN', 'KVM_IRQ_LINE', ...SAVING])),
  // A vCPU's thread takes its own filter after this one.
  allow(['prctl'], [isEqual(0, PR_SET_SECCOMP), isEqual(1, SECCOMP_MODE_FILTER)]),
];

/**
 * vhost-user: descriptors that the other VMM passes become non-blocking, and User-Mode Linux is
 * called again if it has not read a call.
 */
const EMULATED: SyscallRule[] = [libc.FIONBIO, libc.SIOCOUTQ].map((request) => allow(['ioctl'], [isEqual(1, request)]));

const emptyPath = (index: number) => isEqual(index, fixed.EMPTY_PATH);
const slotPath = (index: number) => isEqual(index, fixed.SLOT_PATH);

/** Neither a file that is kept from the file server, nor AT_FDCWD, below which is what the process was started in. */
const below = (index: number, firstKept: number): ArgumentCondition => ({
  index,
  op: 'SCMP_CMP_LT',
  value: firstKept,
});

/**
 * virtio-fs: each call of the file server (devices/fs). Landlock, where it stands alone, refuses none
 * that changes or tells attributes, and no open that is O_PATH. So paths other than names are fixed, and a
 * name is looked up below a descriptor. The last rows are what landlock refuses.
 */
function sharesRules({ slot, firstKept }: FilteredMachine): SyscallRule[] {
  const served = (index: number) => below(index, firstKept);
  const ways = [[isEqual(2, fixed.HOW_PATH)], [isEqual(2, fixed.HOW_DIRECTORY)]]
    .concat([[within(2, fixed.HOW_NEW, fixed.HOW_NEW_SIZE)]])
    .map((how) => [served(0), ...how])
    .concat([[slotPath(1), within(2, fixed.HOW_REOPEN, fixed.HOW_REOPEN_SIZE)]]);
  return [
    allow(['lseek', 'getdents64', 'ftruncate', 'fsync', 'syncfs', 'fstatfs']),
    ...ways.map((how) => allow(['openat2'], [...how, isEqual(3, fixed.HOW_SIZE)])),
    allow(['statx', 'fchownat', 'utimensat', 'readlinkat'], [served(0), emptyPath(1)]),
    // What the path of an open file leads to.
    allow(['dup3'], [served(0), isEqual(1, slot), isEqual(2, libc.O_CLOEXEC)]),
    allow(['fchmodat'], [slotPath(1)]),
    allow(['linkat'], [slotPath(1), served(2)]),
    allow(['getxattr', 'setxattr', 'listxattr', 'removexattr'], [slotPath(0)]),
    // A copy that takes no room, where the file system can.
    allow(['ioctl'], [isEqual(1, FICLONERANGE)]),
    allow(['mkdirat', 'mknodat', 'unlinkat'], [served(0)]),
    allow(['symlinkat'], [served(1)]),
    allow(['renameat2'], [served(0), served(2)]),
  ];
}

/** A share's budget: the blocks of a file. */
const BUDGET: SyscallRule[] = [allow(['ioctl'], [isEqual(1, FS_IOC_FIEMAP)])];

/** virtio-fs as root: new files belong to the guest's user. */
const OWNERS: SyscallRule[] = [
  allow(['setfsuid', 'setfsgid']),
  allow(['prctl'], [isEqual(0, PR_SET_SECUREBITS)]),
  allow(['prctl'], [isEqual(0, libc.PR_SET_PDEATHSIG), isEqual(1, libc.SIGKILL)]),
];

const DEFAULTS: Record<Exclude<SystemCallFilter, 'off'>, Action> = {
  kill: 'SCMP_ACT_KILL_PROCESS',
  refuse: 'SCMP_ACT_ERRNO',
  log: 'SCMP_ACT_LOG',
};

type Mode = keyof typeof DEFAULTS;

/** The profile of all threads of a machine process. */
export function processProfile(machine: FilteredMachine, mode: Mode): SeccompProfile {
  const { hasShares, hasBudget, hasNetwork, hasRelay, canSwitchUser, isEmulated } = machine;
  return {
    defaultAction: DEFAULTS[mode],
    defaultErrnoRet: EPERM,
    syscalls: [
      ...RUNTIME,
      ...FAILING,
      ...PROCESS,
      ...(isEmulated ? EMULATED : KVM),
      ...(hasNetwork ? NETWORK : []),
      ...(hasRelay ? RELAY : []),
      ...(hasShares ? sharesRules(machine) : WITHOUT_SHARES),
      ...(hasBudget ? BUDGET : []),
      ...(hasShares && canSwitchUser ? OWNERS : []),
    ],
  };
}

/** The profile of a thread that runs a vCPU, beside that of all threads. */
export function vcpuProfile(mode: Mode): SeccompProfile {
  return {
    defaultAction: DEFAULTS[mode],
    defaultErrnoRet: EPERM,
    syscalls: [
      ...RUNTIME,
      ...FAILING,
      allow(['ioctl'], requests(['KVM_RUN'])),
      // Wakes the device thread, and takes the signal that ended KVM_RUN.
      allow(['read', 'write']),
    ],
  };
}

const compiled = new Map<string, readonly BpfInstruction[]>();

/**
 * The program of a profile, compiled once. The host's kernel and the process's capabilities do not
 * matter to these profiles.
 */
export function compile(profile: SeccompProfile): readonly BpfInstruction[] {
  const key = JSON.stringify(profile);
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const program = compileProfile(profile, { capabilities: [], kernelRelease: '' });
  compiled.set(key, program);
  return program;
}

/**
 * Compiles the filters of most machines on KVM while their owner prepares them. Later, their guests
 * have begun to run, and stand still meanwhile.
 */
export function prepareFilters(): void {
  const usual = { hasShares: false, hasBudget: false, hasNetwork: true, hasRelay: true, isEmulated: false };
  compile(vcpuProfile('kill'));
  compile(processProfile({ ...usual, slot: -1, firstKept: 0, canSwitchUser: false }, 'kill'));
}
