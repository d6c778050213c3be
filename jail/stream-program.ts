// The system calls of a program that reads stdin and writes stdout: zstd, xz and bzip2, which read
// what a stranger has made. The launcher of its jail takes the filter before it executes the program. What is
// not on the list fails as on a kernel that lacks it (ENOSYS): another release of a program or of the C
// library, which would like one more, does without.
import type { BpfInstruction } from '../seccomp/bpf.js';
import { compileProfile } from '../seccomp/compile.js';
import type { ArgumentCondition, SeccompProfile, SyscallRule } from '../seccomp/profile.js';

const ENOSYS = 38;
const TCGETS = 0x5401;
const CLONE_THREAD = 0x10000;
const PR_SET_NO_NEW_PRIVS = 38;

const isEqual = (index: number, value: number): ArgumentCondition => ({ index, op: 'SCMP_CMP_EQ', value });
const allow = (names: string, args: ArgumentCondition[] = []): SyscallRule => ({
  names: names.split(' '),
  action: 'SCMP_ACT_ALLOW',
  args,
});

export const STREAM_PROGRAM: SeccompProfile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: ENOSYS,
  syscalls: [
    // The launcher executes the program. There is nothing else in its jail.
    allow('execve'),
    // The loader and the C library.
    allow('mmap munmap mprotect mremap madvise brk arch_prctl set_tid_address set_robust_list rseq futex'),
    allow('rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group'),
    allow('getpid gettid getuid geteuid getgid getegid getppid sysinfo sched_getaffinity sched_yield getrandom'),
    allow('clock_gettime gettimeofday clock_nanosleep'),
    // Its own limits: read, not set.
    allow('prlimit64', [isEqual(0, 0), isEqual(2, 0)]),
    // xz 5.6 and later.
    allow('prctl', [isEqual(0, PR_SET_NO_NEW_PRIVS)]),
    // Threads, and no processes. clone3(2) hides its flags, and glibc does without.
    allow('clone', [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: CLONE_THREAD, valueTwo: CLONE_THREAD }]),
    // Libraries, and what it looks for and does not find.
    allow('openat open access newfstatat fstat stat lstat readlink lseek pread64 fadvise64'),
    // Whether a stream is a terminal.
    allow('ioctl', [isEqual(1, TCGETS)]),
    // Its streams. xz waits for them, and wakes itself by a pipe.
    allow('read readv write writev close poll ppoll pipe pipe2'),
    // Flags of descriptors: of the commands, none names an owner or takes a lock.
    allow(
      'fcntl',
      [1, 2, 3, 4].map((command) => isEqual(1, command)),
    ),
  ],
};

export function streamProgramFilter(): BpfInstruction[] {
  return compileProfile(STREAM_PROGRAM, { capabilities: [], kernelRelease: '' });
}
