// What a kernel of User-Mode Linux and its processes may ask of the host's kernel: the count, as
// docs/isolation.md has it, and what is not on the list.
import { expect, test } from 'vitest';
import { compileProfile } from '../../../../seccomp/compile.js';
import { SYSCALLS } from '../../../../seccomp/syscalls.js';
import { umlProfile } from '../../../../vmm/outside/uml-system-calls.js';
import { runProgram } from '../../sandbox/spec/seccomp/bpf-interpreter.js';

type Others = Parameters<typeof umlProfile>[0];

const ALLOW = 0x7fff0000;
const LOG = 0x7ffc0000;
const KILL_PROCESS = 0x80000000;
const EPERM = 0x00050000 + 1;
const ENOSYS = 0x00050000 + 38;
const X86_64 = 0xc000003e;
const I386 = 0x40000003;

const SIGCHLD = 17;
const CLONE_FILES = 0x400;
const CLONE_PARENT = 0x8000;
const [NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET] = [
  ...[0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000],
];
const [CONT, ATTACH, PEEKDATA, POKEDATA, SYSEMU, SEIZE] = [7, 16, 2, 5, 31, 0x4206];

const allowed = new Set(
  (umlProfile('SCMP_ACT_ERRNO').syscalls ?? [])
    .filter(({ action }) => action === 'SCMP_ACT_ALLOW')
    .flatMap(({ names }) => names),
);

/** What the filter makes of a call. */
function result(
  name: string,
  args: number[] = [],
  { architecture = X86_64, others = 'SCMP_ACT_ERRNO' }: { architecture?: number; others?: Others } = {},
): number {
  const filter = compileProfile(umlProfile(others), { capabilities: [], kernelRelease: '' });
  const six = [...args, 0, 0, 0, 0, 0, 0].slice(0, 6).map(BigInt);
  return runProgram(filter, { number: SYSCALLS.get(name)!, architecture, args: six });
}

test('the number of system calls', () => {
  expect(allowed.size).toBe(71);
  for (const name of allowed) expect(SYSCALLS.has(name), name).toBe(true);
});

test.each<[string, string, number[], number]>([
  ['a process of a program', 'clone', [CLONE_PARENT + CLONE_FILES + SIGCHLD], ALLOW],
  ...[NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET].map((flag): [string, string, number[], number] => [
    'a process in a namespace',
    'clone',
    [flag! + SIGCHLD],
    EPERM,
  ]),
  ['what hides its flags', 'clone3', [], EPERM],
  ['a program that is traced', 'ptrace', [SYSEMU], ALLOW],
  ['one in the stub', 'ptrace', [CONT], ALLOW],
  ['to trace another process', 'ptrace', [ATTACH], EPERM],
  ['likewise without a signal', 'ptrace', [SEIZE], EPERM],
  ['the memory of another process', 'ptrace', [PEEKDATA], EPERM],
  ['to write to it', 'ptrace', [POKEDATA], EPERM],
  ['a unix socket', 'socket', [1, 1], ALLOW],
  ['an IPv4 socket', 'socket', [2, 2], EPERM],
  ['a netlink socket', 'socket', [16, 3], EPERM],
  ['a vsock socket', 'socket', [40, 1], EPERM],
  ['a packet socket', 'socket', [17, 3], EPERM],
  ['its own limits', 'prlimit64', [0, 4, 0, 1], ALLOW],
  ['other limits for itself', 'prlimit64', [0, 4, 1, 0], EPERM],
  ['a limit of another process', 'prlimit64', [1, 7, 0, 1], EPERM],
  ['a terminal', 'ioctl', [0, 0x5401], ALLOW],
  ['input for a terminal', 'ioctl', [0, 0x5412], EPERM],
  ['SIGKILL', 'kill', [2, 9], ALLOW],
  ['SIGABRT', 'kill', [1, 6], EPERM],
])('%s: %s', (_, name, args, expected) => {
  expect(result(name, args)).toBe(expected);
});

// A guest's program could write to the area that is registered with it.
test('restartable sequences are missing, as on a kernel without them', () => {
  expect(result('rseq')).toBe(ENOSYS);
});

test('a call of the 32-bit architecture ends the process', () => {
  expect(result('getpid', [], { architecture: I386 })).toBe(KILL_PROCESS);
});

test.each(
  'setsid setuid setns unshare mount bpf io_uring_setup userfaultfd perf_event_open keyctl prctl seccomp personality process_vm_readv process_vm_writev pidfd_open pidfd_getfd memfd_create execveat open_by_handle_at shmget msgget gettimeofday time getcpu'.split(
    ' ',
  ),
)('%s is on no list', (name) => {
  expect(result(name)).toBe(EPERM);
});

// The kernel relies on it.
test.each<[string, number[], number]>([
  ['rseq', [], ENOSYS],
  ['setsid', [], EPERM],
  ['kill', [1, 6], EPERM],
])('%s(%o) fails also if other calls are only logged', (name, args, expected) => {
  const logged = (call: string, words: number[] = []) => result(call, words, { others: 'SCMP_ACT_LOG' });
  expect([logged(name, args), logged('mount')]).toEqual([expected, LOG]);
});
