// The system calls of a kernel of User-Mode Linux, and of the processes that its guest's programs run
// in. The launcher of its jail takes the filter before it executes the kernel. The guest's own system
// calls do not reach it: the kernel catches them before (ptrace(2), PTRACE_SYSEMU).

import type { Action, ArgumentCondition, SeccompProfile, SyscallRule } from '../../seccomp/profile.js';
import { AF_UNIX } from '../host/libc.js';

const EPERM = 1;
const ENOSYS = 38;
const SIGABRT = 6;
/** clone(2): all flags that make namespaces. */
const NAMESPACES = 0x7e020000;
/** TCGETS, TIOCGWINSZ. */
const TERMINAL = [0x5401, 0x5413];
/**
 * TRACEME, PEEKUSER, POKEUSER, CONT, KILL, SINGLESTEP, GETREGS, SETREGS, GETFPREGS, SETFPREGS,
 * OLDSETOPTIONS, SYSCALL, ARCH_PRCTL, SYSEMU, SYSEMU_SINGLESTEP, SETOPTIONS, GETSIGINFO, GETREGSET,
 * SETREGSET: of processes that ask to be traced. None that attaches to another.
 */
const TRACING = [0, 3, 6, 7, 8, 9, 12, 13, 14, 15, 21, 24, 30, 31, 32, 0x4200, 0x4202, 0x4204, 0x4205];

const isEqual = (index: number, value: number): ArgumentCondition => ({ index, op: 'SCMP_CMP_EQ', value });
const allow = (names: string, args: ArgumentCondition[] = []): SyscallRule => ({
  names: names.split(' '),
  action: 'SCMP_ACT_ALLOW',
  args,
});
const fail = (name: string, errnoRet: number, args: ArgumentCondition[] = []): SyscallRule => ({
  ...{ names: [name], action: 'SCMP_ACT_ERRNO', errnoRet, args },
});
/** Each of the values of an argument. */
const oneOf = (index: number, values: readonly number[]): ArgumentCondition[] =>
  values.map((value) => isEqual(index, value));

/**
 * What must fail, whatever becomes of other calls:
 * - rseq: a guest's program could write to the registered area, which its process inherits beyond the
 *   addresses that the kernel gives it. With it, the host would leave the kernel's stub for the
 *   program's own code, at a time when the kernel lets system calls pass.
 * - setsid: the kernel and its processes stay in the process group of their launcher.
 * - SIGABRT: the first process of a namespace does not die of it, and tries again for ever. If it
 *   cannot, it exits.
 */
const FAILING: SyscallRule[] = [
  fail('rseq', ENOSYS),
  fail('setsid', EPERM),
  fail('kill', EPERM, [isEqual(1, SIGABRT)]),
];

const RULES: SyscallRule[] = [
  // Its start: glibc, and the search for what its host can do.
  allow('execve arch_prctl set_tid_address set_robust_list getrandom uname'),
  allow('openat newfstatat access statfs mkdir rmdir unlink getdents64 modify_ldt'),
  // Its own limits: read, not set.
  allow('prlimit64', [isEqual(0, 0), isEqual(2, 0)]),
  // Memory.
  allow('mmap munmap mprotect madvise brk fallocate'),
  // The processes of the guest's programs.
  allow('clone', [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: NAMESPACES, valueTwo: 0 }]),
  allow('ptrace', oneOf(0, TRACING)),
  allow('wait4 getpid gettid getppid tgkill exit exit_group'),
  allow('kill', [{ index: 1, op: 'SCMP_CMP_NE', value: SIGABRT }]),
  // Interrupts, time and the idle loop.
  allow('rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend sigaltstack restart_syscall'),
  allow('timer_create timer_settime timer_gettime timer_delete clock_gettime clock_nanosleep'),
  allow('nanosleep sched_yield futex'),
  // Devices, console and initramfs.
  allow('socket socketpair', [isEqual(0, AF_UNIX)]),
  allow('connect sendmsg recvmsg read write pread64 pwrite64 lseek fsync close'),
  allow('ioctl', oneOf(1, TERMINAL)),
  allow('fcntl pipe pipe2 eventfd2 poll ppoll'),
  allow('epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait'),
];

/** @param others what a call leads to that is not on the list */
export function umlProfile(others: Extract<Action, 'SCMP_ACT_ERRNO' | 'SCMP_ACT_LOG'>): SeccompProfile {
  return { defaultAction: others, defaultErrnoRet: EPERM, syscalls: [...RULES, ...FAILING] };
}
