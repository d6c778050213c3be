// What QEMU may ask of the kernel: the count, as docs/isolation.md has it, and what is not on the list.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { compileProfile } from '../../../../seccomp/compile.js';
import type { SeccompProfile } from '../../../../seccomp/profile.js';
import { SYSCALLS } from '../../../../seccomp/syscalls.js';
import { EPOLL_COMPLAINT, qemuProfile } from '../../../../vmm/outside/qemu-system-calls.js';
import { runProgram } from '../../sandbox/spec/seccomp/bpf-interpreter.js';

const ALLOW = 0x7fff0000;
const LOG = 0x7ffc0000;
const ENOSYS = 0x00050000 + 38;
const X86_64 = 0xc000003e;
const THREAD = 0x003d0f00;
const SIGCHLD = 17;

const local = qemuProfile(false, 'SCMP_ACT_ERRNO');
const online = qemuProfile(true, 'SCMP_ACT_ERRNO');

function count({ syscalls = [] }: SeccompProfile): number {
  return new Set(syscalls.flatMap(({ names }) => names)).size;
}

/** What the filter makes of a call. */
function result(profile: SeccompProfile, name: string, ...args: number[]): number {
  const six = [...args, 0, 0, 0, 0, 0, 0].slice(0, 6).map(BigInt);
  const program = compileProfile(profile, { capabilities: [], kernelRelease: '' });
  return runProgram(program, { number: SYSCALLS.get(name)!, architecture: X86_64, args: six });
}

test('what QEMU says of a refused epoll has the words of the C library', () => {
  expect(result(local, 'epoll_create1', 0)).toBe(ENOSYS);
  const words = execFileSync('perl', ['-e', '$! = 38; print $!'], { encoding: 'utf8', env: { LC_ALL: 'C' } });
  expect(EPOLL_COMPLAINT).toBe(`Failed to create epoll instance: ${words}`);
});

test('the number of system calls', () => {
  expect([count(local), count(online)]).toEqual([75, 77]);
  for (const name of (online.syscalls ?? []).flatMap(({ names }) => names)) expect(SYSCALLS.has(name), name).toBe(true);
});

test.each<[string, string, number[], number]>([
  ['a thread', 'clone', [THREAD], ALLOW],
  ['a process', 'clone', [SIGCHLD], ENOSYS],
  ['a process in a user namespace', 'clone', [0x10000000 + SIGCHLD], ENOSYS],
  ['what hides its flags', 'clone3', [], ENOSYS],
  ['fork', 'fork', [], ENOSYS],
  ['a unix socket', 'socket', [1, 1], ALLOW],
  ['an IPv4 socket', 'socket', [2, 2], ENOSYS],
  ['a netlink socket', 'socket', [16, 3], ENOSYS],
  ['a vsock socket', 'socket', [40, 1], ENOSYS],
  ['a listening socket', 'bind', [], ENOSYS],
  ['its own limits', 'prlimit64', [0, 7, 0, 1], ALLOW],
  ['other limits for itself', 'prlimit64', [0, 7, 1, 0], ENOSYS],
  ['a limit of another process', 'prlimit64', [1, 7, 0, 1], ENOSYS],
  ['memory of its own', 'mmap', [0, 4096, 3, 0x22], ALLOW],
  ['memory of a file', 'mmap', [0, 4096, 3, 0x01, 4], ALLOW],
  ['memory that no limit counts', 'mmap', [0, 4096, 3, 0x21], ENOSYS],
  ['likewise, with all flags checked', 'mmap', [0, 4096, 3, 0x23], ENOSYS],
  ['flags of a descriptor', 'fcntl', [4, 4, 0x800], ALLOW],
  ['an owner of a descriptor, who gets its signals', 'fcntl', [4, 8, 1], ENOSYS],
  ['likewise, a thread or a group', 'fcntl', [4, 15, 1], ENOSYS],
  ['which signal the owner gets', 'fcntl', [4, 10, 9], ENOSYS],
  ['a lease', 'fcntl', [4, 1024, 1], ENOSYS],
  ['a lock', 'fcntl', [4, 37], ENOSYS],
  ['a file', 'openat', [5, 0, 0o2000000], ALLOW],
  ['a path that is no file', 'openat', [5, 0, 0o12000000], ENOSYS],
  ['likewise, by its older call', 'open', [0, 0o10000000], ENOSYS],
  ['a file by a call that hides its flags', 'openat2', [5, 0, 0, 24], ENOSYS],
  ['a terminal', 'ioctl', [0, 0x5401], ALLOW],
  ['input for a terminal', 'ioctl', [0, 0x5412], ENOSYS],
  ['a name', 'prctl', [15], ALLOW],
  ['memory for others to read', 'prctl', [4, 1], ENOSYS],
])('%s: %s', (_, name, args, expected) => {
  expect(result(online, name, ...args)).toBe(expected);
});

test.each([
  'kill',
  'tgkill',
  'ptrace',
  'mount',
  'unshare',
  'setns',
  'bpf',
  'io_uring_setup',
  'userfaultfd',
  'memfd_create',
  'shmget',
  'msgget',
])('%s is on no list', (name) => {
  expect(result(online, name)).toBe(ENOSYS);
  expect(result(local, name)).toBe(ENOSYS);
});

test('without a network there are no sockets but those it was given', () => {
  expect(result(local, 'socket', 1, 1)).toBe(ENOSYS);
  expect(result(local, 'connect')).toBe(ENOSYS);
});

test('to debug, what is not on the list goes to the log', () => {
  expect(result(qemuProfile(true, 'SCMP_ACT_LOG'), 'mount')).toBe(LOG);
});
