// The system calls of a kernel of User-Mode Linux, and of the processes that its guest's programs run
// in. The launcher of its jail takes the filter before it executes the kernel. The guest's own system
// calls do not reach it: the kernel catches them before (ptrace(2), PTRACE_SYSEMU).

import type { BpfInstruction } from '../../seccomp/bpf.js';
import { compileProfile } from '../../seccomp/compile.js';
import type { SyscallRule } from '../../seccomp/profile.js';
import { AF_UNIX } from '../host/libc.js';

const EPERM = 1;
const SIGABRT = 6;

const allow = (...names: string[]): SyscallRule => ({ names, action: 'SCMP_ACT_ALLOW' });

/**
 * What is not named fails:
 * - setsid: the kernel and its processes stay in the process group of their launcher.
 * - SIGABRT: the first process of a namespace does not die of it, and tries again for ever. If it
 *   cannot, it exits.
 */
const RULES: SyscallRule[] = [
  // Its start: glibc, and the search for what its host can do.
  allow('execve', 'arch_prctl', 'set_tid_address', 'set_robust_list', 'rseq', 'prlimit64', 'getrandom', 'uname'),
  allow('openat', 'newfstatat', 'access', 'statfs', 'mkdir', 'rmdir', 'unlink', 'getdents64', 'modify_ldt'),
  // Memory.
  allow('mmap', 'munmap', 'mprotect', 'madvise', 'brk', 'fallocate'),
  // The processes of the guest's programs.
  allow('clone', 'ptrace', 'wait4', 'getpid', 'gettid', 'getppid', 'tgkill', 'exit', 'exit_group'),
  { names: ['kill'], action: 'SCMP_ACT_ALLOW', args: [{ index: 1, op: 'SCMP_CMP_NE', value: SIGABRT }] },
  // Interrupts, time and the idle loop.
  allow('rt_sigaction', 'rt_sigprocmask', 'rt_sigreturn', 'rt_sigsuspend', 'sigaltstack', 'restart_syscall'),
  allow('timer_create', 'timer_settime', 'timer_gettime', 'timer_delete', 'clock_gettime', 'clock_nanosleep'),
  allow('nanosleep', 'gettimeofday', 'sched_yield', 'futex'),
  // Devices, console and initramfs.
  {
    names: ['socket', 'socketpair'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, op: 'SCMP_CMP_EQ', value: AF_UNIX }],
  },
  allow('connect', 'sendmsg', 'recvmsg', 'read', 'write', 'pread64', 'pwrite64', 'lseek', 'fsync', 'close'),
  allow('fcntl', 'ioctl', 'pipe', 'pipe2', 'eventfd2', 'poll', 'ppoll'),
  allow('epoll_create', 'epoll_create1', 'epoll_ctl', 'epoll_wait', 'epoll_pwait'),
];

export function umlFilter(): BpfInstruction[] {
  const profile = { defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: EPERM, syscalls: RULES } as const;
  return compileProfile(profile, { capabilities: [], kernelRelease: '' });
}
