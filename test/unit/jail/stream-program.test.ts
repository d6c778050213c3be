// What a decompressor may ask of the kernel: the count, as docs/isolation.md has it, and what is not on
// the list.
import { expect, test } from 'vitest';
import { STREAM_PROGRAM, streamProgramFilter } from '../../../jail/stream-program.js';
import { SYSCALLS } from '../../../seccomp/syscalls.js';
import { runProgram } from '../sandbox/spec/seccomp/bpf-interpreter.js';

const ALLOW = 0x7fff0000;
const ENOSYS = 0x00050000 + 38;
const X86_64 = 0xc000003e;
const THREAD = 0x003d0f00;
const SIGCHLD = 17;
const F_SETOWN = 8;

const NAMES = (STREAM_PROGRAM.syscalls ?? []).flatMap(({ names }) => names);
const filter = streamProgramFilter();

/** What the filter makes of a call. */
function result(name: string, ...args: number[]): number {
  const six = [...args, 0, 0, 0, 0, 0, 0].slice(0, 6).map(BigInt);
  return runProgram(filter, { number: SYSCALLS.get(name)!, architecture: X86_64, args: six });
}

test('the number of system calls', () => {
  expect(new Set(NAMES).size).toBe(58);
  for (const name of NAMES) expect(SYSCALLS.has(name), name).toBe(true);
});

test.each<[string, string, number[], number]>([
  ['a thread', 'clone', [THREAD], ALLOW],
  ['a process', 'clone', [SIGCHLD], ENOSYS],
  ['a process in a user namespace', 'clone', [0x10000000 + SIGCHLD], ENOSYS],
  ['what hides its flags', 'clone3', [], ENOSYS],
  ['its own limits', 'prlimit64', [0, 7, 0, 1], ALLOW],
  ['other limits for itself', 'prlimit64', [0, 7, 1, 0], ENOSYS],
  ['a limit of another process', 'prlimit64', [1, 7, 0, 1], ENOSYS],
  ['a terminal', 'ioctl', [0, 0x5401], ALLOW],
  ['input for a terminal', 'ioctl', [0, 0x5412], ENOSYS],
  ['memory for others to read', 'prctl', [4, 1], ENOSYS],
  ['who gets the signals of a descriptor', 'fcntl', [0, F_SETOWN, 1], ENOSYS],
])('%s: %s', (_, name, args, expected) => {
  expect(result(name, ...args)).toBe(expected);
});

test.each([
  ...['socket', 'socketpair', 'connect', 'bind', 'sendto', 'sendmsg', 'recvmsg', 'kill', 'tgkill', 'ptrace', 'fork'],
  ...['vfork', 'unshare', 'setns', 'mount', 'chroot', 'bpf', 'io_uring_setup', 'userfaultfd', 'keyctl', 'shmget'],
  ...['mkdirat', 'unlinkat', 'renameat2', 'chmod', 'fchmodat', 'fchownat', 'setxattr', 'getdents64', 'memfd_create'],
  ...['process_vm_readv', 'pidfd_open', 'setuid', 'capset', 'seccomp', 'setsid'],
])('no decompressor makes %s', (name) => {
  expect(result(name)).toBe(ENOSYS);
});

test('a call of another architecture ends it', () => {
  expect(runProgram(filter, { number: 1, architecture: 0x40000003, args: [0n, 0n, 0n, 0n, 0n, 0n] })).toBe(0x80000000);
});
