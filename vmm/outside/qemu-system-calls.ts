// The system calls of QEMU as an emulated machine has it, as a profile in Docker's format. QEMU adds
// a filter of its own (-sandbox), which takes back what only its start needs. What is not on the list
// fails as on a kernel that lacks it: another release of QEMU or of the C library, which would like
// one more, does without. test/unit/vmm/outside/qemu-system-calls.test.ts counts the calls.
import { getSystemErrorMap } from 'node:util';
import type { Action, ArgumentCondition, SeccompProfile, SyscallRule } from '../../seccomp/profile.js';

const ENOSYS = 38;
/** The C library's words for it. Those of Node.js have no capital. */
const REFUSED = (getSystemErrorMap().get(-ENOSYS)?.[1] ?? '').replace(/^./, (first) => first.toUpperCase());
/** What QEMU writes to stderr when `epoll_create1` is refused. It waits by ppoll(2) then. */
export const EPOLL_COMPLAINT = `Failed to create epoll instance: ${REFUSED}`;

const AF_UNIX = 1;
const TCGETS = 0x5401;
const CLONE_THREAD = 0x10000;
const MAP_SHARED = 1;
const MAP_ANONYMOUS = 0x20;
/** F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. */
const DESCRIPTOR_COMMANDS = [0, 1, 2, 3, 4, 1030];
const O_PATH = 0o10000000;
const PR_SET_NAME = 15;
const PR_SET_TIMERSLACK = 29;
const PR_MCE_KILL = 33;
const PR_SET_NO_NEW_PRIVS = 38;

const isEqual = (index: number, value: number): ArgumentCondition => ({ index, op: 'SCMP_CMP_EQ', value });
const lacks = (index: number, bits: number): ArgumentCondition => ({
  index,
  op: 'SCMP_CMP_MASKED_EQ',
  value: bits,
  valueTwo: 0,
});
const allow = (names: string, args: ArgumentCondition[] = []): SyscallRule => ({
  names: names.split(' '),
  action: 'SCMP_ACT_ALLOW',
  args,
});

const RULES: SyscallRule[] = [
  // The launcher executes QEMU. There is nothing else in its jail, and QEMU's own filter refuses more.
  allow('execve'),
  // The loader, glibc and glib.
  allow('munmap mprotect mremap madvise brk arch_prctl set_tid_address set_robust_list rseq futex membarrier'),
  allow('rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group'),
  allow('getpid gettid getuid geteuid getgid getegid uname sysinfo sched_getaffinity sched_yield getrandom'),
  allow('clock_gettime gettimeofday clock_getres clock_nanosleep nanosleep'),
  // Memory that is shared is that of a file: the kernel's limit of private memory (RLIMIT_DATA) does not
  // count it. So no memfd either: guest memory is the owner's.
  allow('mmap', [lacks(3, MAP_SHARED)]),
  allow('mmap', [lacks(3, MAP_ANONYMOUS)]),
  // Its own limits: read, not set.
  allow('prlimit64', [isEqual(0, 0), isEqual(2, 0)]),
  allow(
    'prctl',
    [PR_SET_NAME, PR_SET_TIMERSLACK, PR_MCE_KILL, PR_SET_NO_NEW_PRIVS].map((each) => isEqual(0, each)),
  ),
  // Threads, and no processes. clone3(2) hides its flags, and glibc does without.
  allow('clone', [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: CLONE_THREAD, valueTwo: CLONE_THREAD }]),
  // Its own filter.
  allow('seccomp'),
  // Libraries, guest memory, the firmware, and what it looks for and does not find. Landlock refuses no
  // descriptor that stands for a path alone (O_PATH). The machine process, to which QEMU may pass one,
  // could change modes and owners with it.
  allow('openat', [lacks(2, O_PATH)]),
  allow('open', [lacks(1, O_PATH)]),
  allow('access newfstatat fstat stat lstat readlink getdents64 lseek pread64 fadvise64 statfs fstatfs'),
  allow('fchdir getcwd'),
  // Whether stdin is a terminal.
  allow('ioctl', [isEqual(1, TCGETS)]),
  // Its event loop, the console, the log, vhost-user.
  allow('read readv write writev close ppoll poll eventfd2 signalfd4 sendmsg recvmsg'),
  // None that names an owner, who would get signals: any process of the user, where there is no namespace.
  allow(
    'fcntl',
    DESCRIPTOR_COMMANDS.map((command) => isEqual(1, command)),
  ),
  allow('getsockname getpeername getsockopt setsockopt shutdown'),
  // The balloon gives memory back to the host.
  allow('fallocate'),
];

/** QEMU takes no descriptor for a network device, and connects to a socket instead. */
const NETWORK: SyscallRule[] = [allow('socket', [isEqual(0, AF_UNIX)]), allow('connect')];

/** @param others what a call leads to that is not on the list */
export function qemuProfile(
  hasNetwork: boolean,
  others: Extract<Action, 'SCMP_ACT_ERRNO' | 'SCMP_ACT_LOG'>,
): SeccompProfile {
  return {
    defaultAction: others,
    defaultErrnoRet: ENOSYS,
    syscalls: [...RULES, ...(hasNetwork ? NETWORK : [])],
  };
}
