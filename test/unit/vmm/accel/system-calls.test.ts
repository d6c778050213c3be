// The system calls that a machine process may make, by name. A list that grows must be changed here
// too, and its count is in docs/isolation.md.
import { describe, expect, test } from 'vitest';
import type { SeccompProfile } from '../../../../seccomp/profile.js';
import { SYSCALLS } from '../../../../seccomp/syscalls.js';
import {
  compile,
  type FilteredMachine,
  prepareFilters,
  processProfile,
  vcpuProfile,
} from '../../../../vmm/accel/system-calls.js';
import {
  EMPTY_PATH,
  FIRST_FREE,
  HOW_DIRECTORY,
  HOW_PATH,
  howToCreate,
  howToReopen,
  SLOT_PATH,
} from '../../../../vmm/host/fixed-arguments.js';
import { IOCTLS } from '../../../../vmm/kvm/ioctl.js';
import { runProgram } from '../../sandbox/spec/seccomp/bpf-interpreter.js';

const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const EACCES = 0x00050000 + 13;
const EINVAL = 0x00050000 + 22;
const X86_64 = 0xc000003e;
const PID = 4711;
const OTHER = 7;
const SLOT = 9;
const FIRST_KEPT = 3072;
/** An address that the process may write to. */
const NAME = 0x7f00_0000_0000;

const machine: FilteredMachine = {
  hasShares: false,
  slot: SLOT,
  firstKept: FIRST_KEPT,
  hasBudget: false,
  hasNetwork: true,
  hasRelay: false,
  canSwitchUser: true,
  isEmulated: false,
};
const kvm = processProfile(machine, 'kill');
const emulated = processProfile({ ...machine, isEmulated: true }, 'kill');
const shared = processProfile({ ...machine, hasShares: true }, 'kill');
const bounded = processProfile({ ...machine, hasShares: true, hasBudget: true }, 'kill');
const relayed = processProfile({ ...machine, hasRelay: true }, 'kill');
const vcpu = vcpuProfile('kill');

function allowed({ syscalls = [] }: SeccompProfile): string[] {
  const names = syscalls.filter(({ action }) => action === 'SCMP_ACT_ALLOW').flatMap((rule) => rule.names);
  return [...new Set(names)].sort();
}

/** What the filter makes of a call. */
function result(profile: SeccompProfile, name: string, ...args: (number | bigint)[]): number {
  const six = [...args, 0, 0, 0, 0, 0, 0].slice(0, 6).map(BigInt);
  return runProgram(compile(profile), { number: SYSCALLS.get(name)!, architecture: X86_64, args: six });
}

describe('the number of system calls', () => {
  // As docs/isolation.md has them.
  const none = { hasNetwork: false };
  const outside = { hasRelay: true };
  const files = { hasShares: true, canSwitchUser: false };
  const asRoot = { hasShares: true };
  const count = (parts: Partial<FilteredMachine>) => allowed(processProfile({ ...machine, ...parts }, 'kill')).length;
  test.each<[string, { onKvm: number; emulated: number }, Partial<FilteredMachine>]>([
    ['no network', { onKvm: 23, emulated: 21 }, none],
    ['a private network', { onKvm: 24, emulated: 22 }, {}],
    ['an outside network', { onKvm: 26, emulated: 24 }, outside],
    ['shared folders', { onKvm: 45, emulated: 44 }, { ...files, ...none }],
    ['shared folders and a private network', { onKvm: 46, emulated: 45 }, files],
    ['shared folders and an outside network', { onKvm: 48, emulated: 47 }, { ...files, ...outside }],
    ['a bounded volume', { onKvm: 45, emulated: 44 }, { ...files, ...none, hasBudget: true }],
    ['shared folders of root', { onKvm: 47, emulated: 47 }, { ...asRoot, ...none }],
    ['shared folders of root and a private network', { onKvm: 48, emulated: 48 }, asRoot],
    ['shared folders of root and an outside network', { onKvm: 50, emulated: 50 }, { ...asRoot, ...outside }],
  ])('of a machine with %s is %o', (_, { onKvm, emulated }, parts) => {
    expect({ onKvm: count(parts), emulated: count({ ...parts, isEmulated: true }) }).toEqual({ onKvm, emulated });
  });

  test('of a machine that has all there is is 50', () => {
    const everything: FilteredMachine = {
      hasShares: true,
      slot: SLOT,
      firstKept: FIRST_KEPT,
      hasBudget: true,
      hasNetwork: true,
      hasRelay: true,
      canSwitchUser: true,
      isEmulated: false,
    };
    expect(count(everything)).toBe(50);
    expect(count({ ...everything, isEmulated: true })).toBe(50);
  });

  test('of a vCPU is 9', () => {
    expect(allowed(vcpu)).toHaveLength(9);
  });

  test('every name is a system call', () => {
    for (const { syscalls = [] } of [kvm, emulated, shared, vcpu]) {
      for (const name of syscalls.flatMap(({ names }) => names)) expect(SYSCALLS.has(name), name).toBe(true);
    }
  });

  test('a vCPU has only what all threads have', () => {
    expect(allowed(vcpu).filter((name) => !allowed(kvm).includes(name))).toEqual([]);
    expect(allowed(vcpu)).toEqual('clock_gettime futex ioctl madvise mmap mprotect munmap read write'.split(' '));
  });
});

describe('arguments', () => {
  test('a vCPU makes one ioctl', () => {
    const allowedRequests = Object.values(IOCTLS).filter((request) => result(vcpu, 'ioctl', 5, request) === ALLOW);
    expect(allowedRequests).toEqual([IOCTLS.KVM_RUN]);
  });

  test.each(['KVM_CREATE_VM', 'KVM_SET_USER_MEMORY_REGION', 'KVM_CREATE_VCPU', 'KVM_SET_MSRS', 'KVM_IRQFD'] as const)(
    'no thread makes %s',
    (name) => {
      expect(result(kvm, 'ioctl', 5, IOCTLS[name])).toBe(KILL);
      expect(result(emulated, 'ioctl', 5, IOCTLS[name])).toBe(KILL);
    },
  );

  test.each<[string, SeccompProfile, string, number[], number]>([
    ['memory', kvm, 'mmap', [0, 4096, 3, 0x22], ALLOW],
    ['memory at an address', kvm, 'mmap', [FIRST_FREE, 4096, 3, 0x32], ALLOW],
    ['memory in the place of the fixed arguments', kvm, 'mmap', [EMPTY_PATH, 4096, 3, 0x32], KILL],
    ['memory from the first address on', kvm, 'mmap', [0, 2 ** 30, 3, 0x32], KILL],
    ['memory at an address, of a vCPU', vcpu, 'mmap', [EMPTY_PATH, 4096, 3, 0x32], KILL],
    ['memory of a file', kvm, 'mmap', [0, 4096, 3, 0x1, 5], ALLOW],
    ['memory of a file at an address', kvm, 'mmap', [FIRST_FREE, 4096, 3, 0x11, 5], ALLOW],
    ['memory that no limit counts', kvm, 'mmap', [0, 4096, 3, 0x21], KILL],
    ['memory that no limit counts, at an address', kvm, 'mmap', [FIRST_FREE, 4096, 3, 0x31], KILL],
    ['likewise, with all flags checked', emulated, 'mmap', [0, 4096, 3, 0x23], KILL],
    ['likewise, of a vCPU', vcpu, 'mmap', [0, 4096, 3, 0x21], KILL],
    ['the room of memory', kvm, 'munmap', [FIRST_FREE, 4096], ALLOW],
    ['the room of the fixed arguments', kvm, 'munmap', [EMPTY_PATH, 4096], KILL],
    ['the room from below the fixed arguments on', kvm, 'munmap', [4096, 2 ** 30], KILL],
    ['code', kvm, 'mmap', [0, 4096, 7, 0x22], KILL],
    ['code of a vCPU', vcpu, 'mmap', [0, 4096, 5, 0x22], KILL],
    ['a unix socket', kvm, 'socket', [1, 1], KILL],
    ['an IPv4 socket', kvm, 'socket', [2, 1], KILL],
    ['an IPv6 socket', kvm, 'socket', [10, 1], KILL],
    ['a netlink socket', kvm, 'socket', [16, 3], KILL],
    ['a packet socket', kvm, 'socket', [17, 3], KILL],
    ['the return from a handler of a signal', kvm, 'rt_sigreturn', [], KILL],
    ['a lock of a file', bounded, 'fcntl', [5, 37], KILL],
    ['a signal to a thread of its own', kvm, 'tgkill', [PID, 9, 12], KILL],
    ['a signal to a thread of another process', kvm, 'tgkill', [OTHER, 9, 12], KILL],
    ['a signal to a process', emulated, 'pidfd_send_signal', [OTHER, 9], KILL],
    ['a program', emulated, 'execve', [0, 0, 0], KILL],
    ['a process', emulated, 'clone', [17], KILL],
    ['a signal to all', emulated, 'kill', [2 ** 32 - 1, 9], KILL],
    ['an IPv4 socket beside the relay', relayed, 'socket', [2, 1], KILL],
    ['a unix socket beside the relay', relayed, 'socket', [1, 1], KILL],
    ['a netlink socket beside the relay', relayed, 'socket', [16, 3], KILL],
    ['another filter', kvm, 'prctl', [22, 2], ALLOW],
    ['another filter for all threads', kvm, 'seccomp', [1, 1], KILL],
    ['notifications of a filter', kvm, 'seccomp', [1, 8], KILL],
    ['the touched parts of memory', kvm, 'lseek', [5, 0, 3], ALLOW],
    ['the untouched parts of memory', kvm, 'lseek', [5, 0, 4], ALLOW],
    ['another place in a file', kvm, 'lseek', [5, 0, 0], KILL],
    ['the touched parts of memory that QEMU has too', emulated, 'lseek', [5, 0, 3], KILL],
    ['a file without shares', kvm, 'openat', [0, 0, 0], EACCES],
    ['a file of a share', shared, 'openat2', [5, NAME, HOW_PATH, 24], ALLOW],
    ['a folder of a share', shared, 'openat2', [5, NAME, HOW_DIRECTORY, 24], ALLOW],
    ['a new file of a share', shared, 'openat2', [5, NAME, howToCreate(0o777, true), 24], ALLOW],
    ['a new file without a name', shared, 'openat2', [5, NAME, howToCreate(0o777, false), 24], ALLOW],
    ['a file that is open', shared, 'openat2', [5, SLOT_PATH, howToReopen(2), 24], ALLOW],
    ['a file by another path', shared, 'openat2', [5, NAME, howToReopen(0), 24], KILL],
    ['a file in another way', shared, 'openat2', [5, SLOT_PATH, NAME, 24], KILL],
    ['a file in a way that starts elsewhere', shared, 'openat2', [5, NAME, howToCreate(1, true) + 8, 24], KILL],
    ['a file in a way beyond the fixed ones', shared, 'openat2', [5, NAME, FIRST_FREE, 24], KILL],
    ['a file in a way at a high address', shared, 'openat2', [5, NAME, 2 ** 40 + howToCreate(1, true), 24], KILL],
    ['a file in a longer way', shared, 'openat2', [5, NAME, HOW_PATH, 32], KILL],
    ['a look at a path', kvm, 'statx', [0, 0, 0], EACCES],
    ['a look at a file that is open', shared, 'statx', [5, EMPTY_PATH, 0x1000], ALLOW],
    ['a look at a path with shares', shared, 'statx', [5, NAME, 0x100], KILL],
    ['the mode of an open file', shared, 'fchmodat', [5, SLOT_PATH, 0o600], ALLOW],
    ['the mode of a path', shared, 'fchmodat', [5, NAME, 0o600], KILL],
    ['the owner of a path', shared, 'fchownat', [5, NAME, 1, 1], KILL],
    ['the times of a path', shared, 'utimensat', [5, NAME, 0], KILL],
    ['the times of a descriptor alone', shared, 'utimensat', [5, 0, 0], KILL],
    ['the target of a path', shared, 'readlinkat', [5, NAME], KILL],
    ['another name of an open file', shared, 'linkat', [5, SLOT_PATH, 6, NAME], ALLOW],
    ['another name of a path', shared, 'linkat', [5, NAME, 6, NAME], KILL],
    ['an extended attribute of a path', shared, 'setxattr', [NAME, NAME], KILL],
    ['the extended attributes of a path', shared, 'listxattr', [NAME], KILL],
    ['a descriptor for paths', shared, 'dup3', [5, SLOT, 0o2000000], ALLOW],
    ['another descriptor', shared, 'dup3', [5, 3, 0o2000000], KILL],
    ['a descriptor without shares', kvm, 'dup3', [5, SLOT, 0o2000000], KILL],
    ['the size of a file', emulated, 'fstat', [5], ALLOW],
    ['another file with shares', shared, 'openat', [0, 0, 2], EACCES],
    ['a look at glibc files', vcpu, 'openat', [0, 0, 0], EACCES],
    ['the blocks of a file', bounded, 'ioctl', [5, 0xc020660b], ALLOW],
    ['the blocks of a file without a budget', shared, 'ioctl', [5, 0xc020660b], KILL],
    ['the flags of a file', bounded, 'ioctl', [5, 0x40086602], KILL],
    ['the secure bits', shared, 'prctl', [28], ALLOW],
    ['the signal at the death of the parent', shared, 'prctl', [1, 9], ALLOW],
    ['the secure bits without shares', kvm, 'prctl', [28], KILL],
    ['dumpable', shared, 'prctl', [4, 1], KILL],
    ['owner of a descriptor', emulated, 'fcntl', [3, 8, 1], KILL],
    ['the flag that a descriptor does not wait', emulated, 'ioctl', [3, 0x5421], ALLOW],
    ['the flag that a descriptor sends signals', emulated, 'ioctl', [3, 0x5452], KILL],
    ['blocks that two files share', shared, 'ioctl', [3, 0x4020940d], ALLOW],
    ['room for the heap of glibc', kvm, 'brk', [4096], 0x00050000],
    ['the clock of dates', kvm, 'gettimeofday', [], 0x00050001],
    // Of V8's threads in Node.js 24 and later.
    ['the signals that a thread blocks', emulated, 'rt_sigprocmask', [2, 0, 0, 8], 0x00050001],
    ['the signals that a vCPU blocks', vcpu, 'rt_sigprocmask', [2, 0, 0, 8], 0x00050001],
    ['the CPUs of a thread', emulated, 'sched_getaffinity', [0, 32], 0x00050001],
    ['a short sleep before the next try to lock', emulated, 'clock_nanosleep', [1, 0], 0x00050001],
    ['the priority of a thread', emulated, 'sched_getparam', [0, 0], 0x00050000],
    ['the scheduler of a thread', emulated, 'sched_getscheduler', [0], 0x00050000],
    ['a wait for another thread', kvm, 'futex', [0, 128], ALLOW],
    ['a wait until a time', vcpu, 'futex', [0, 9 + 128 + 256], ALLOW],
    ['a lock that lends its priority', kvm, 'futex', [0, 6 + 128], KILL],
    ['such a lock in memory that processes share', vcpu, 'futex', [0, 13], KILL],
    ['a wait that becomes one for such a lock', kvm, 'futex', [0, 12], KILL],
    ['memory that goes back to the host', kvm, 'madvise', [0, 4096, 9], ALLOW],
    ['memory that is merged with that of other processes', kvm, 'madvise', [0, 4096, 12], EINVAL],
    ['memory that is made bad', vcpu, 'madvise', [0, 4096, 100], EINVAL],
    ['the time', kvm, 'clock_gettime', [1], ALLOW],
    ['the time of the process', vcpu, 'clock_gettime', [2], ALLOW],
    ['the time of another process', kvm, 'clock_gettime', [2 ** 32 - PID * 8], KILL],
    ['the clock of a device', kvm, 'clock_gettime', [2 ** 32 - 5 * 8 + 3], KILL],
    ['another signal at the death of the parent', shared, 'prctl', [1, 0], KILL],
    ['the queue of a socket to a peer', kvm, 'setsockopt', [5, 1, 7], ALLOW],
    ['small segments at once', relayed, 'setsockopt', [5, 6, 1], ALLOW],
    ['small segments without a relay', kvm, 'setsockopt', [5, 6, 1], KILL],
    ['a queue beyond the limit of the host', relayed, 'setsockopt', [5, 1, 32], KILL],
    ['a transparent socket', relayed, 'setsockopt', [5, 0, 19], KILL],
    ['a filter of packets', relayed, 'setsockopt', [5, 1, 26], KILL],
    ['another protocol above TCP', relayed, 'setsockopt', [5, 6, 31], KILL],
    ['the error of a socket', relayed, 'getsockopt', [5, 1, 4], ALLOW],
    ['the error of a socket without a relay', kvm, 'getsockopt', [5, 1, 4], KILL],
    ['the pidfd of a peer', relayed, 'getsockopt', [5, 1, 77], KILL],
    ['the addresses of a connection', relayed, 'getsockopt', [5, 0, 80], KILL],
  ])('%s', (_, profile, name, args, expected) => {
    expect(result(profile, name, ...args)).toBe(expected);
  });

  test.each<[string, number, number[]]>([
    ['openat2', 0, [5, NAME, HOW_PATH, 24]],
    ['openat2', 0, [5, NAME, HOW_DIRECTORY, 24]],
    ['openat2', 0, [5, NAME, howToCreate(0o600, true), 24]],
    ['openat2', 0, [5, NAME, howToCreate(0o600, false), 24]],
    ['statx', 0, [5, EMPTY_PATH, 0x1000]],
    ['fchownat', 0, [5, EMPTY_PATH, 1, 1, 0x1000]],
    ['utimensat', 0, [5, EMPTY_PATH, 0, 0x1000]],
    ['readlinkat', 0, [5, EMPTY_PATH]],
    ['dup3', 0, [5, SLOT, 0o2000000]],
    ['linkat', 2, [5, SLOT_PATH, 6, NAME]],
    ['mkdirat', 0, [5, NAME]],
    ['mknodat', 0, [5, NAME]],
    ['unlinkat', 0, [5, NAME]],
    ['symlinkat', 1, [NAME, 5, NAME]],
    ['renameat2', 0, [5, NAME, 6, NAME]],
    ['renameat2', 2, [5, NAME, 6, NAME]],
  ])('%s takes, as argument %d, descriptors of shares alone', (name, at, args) => {
    expect(result(shared, name, ...args)).toBe(ALLOW);
    // The last and first number; AT_FDCWD, with the sign and without; a descriptor below bits that the kernel drops.
    const others = [FIRST_KEPT - 1, FIRST_KEPT, 2n ** 64n - 100n, 2n ** 32n - 100n, 2n ** 32n + 5n, 2n ** 31n];
    const results = others.map((fd) => result(shared, name, ...args.slice(0, at), fd, ...args.slice(at + 1)));
    expect(results).toEqual([ALLOW, KILL, KILL, KILL, KILL, KILL]);
  });

  test('of the options of sockets, the few of the relay are allowed', () => {
    const program = compile(relayed);
    const allowedOptions = (call: string) => {
      const number = SYSCALLS.get(call)!;
      const found: string[] = [];
      for (const level of [0, 1, 2, 6, 17, 41, 58, 136, 255, 270, 281, 284]) {
        for (let name = 0; name < 100; name++) {
          const args = [5n, BigInt(level), BigInt(name), 0n, 0n, 0n];
          if (runProgram(program, { number, architecture: X86_64, args }) === ALLOW) found.push(`${level} ${name}`);
        }
      }
      return found;
    };
    expect(allowedOptions('setsockopt')).toEqual(['1 7', '1 9', '1 10', '1 13', '6 1']);
    expect(allowedOptions('getsockopt')).toEqual(['1 4', '1 55']);
  });

  test.each('socket socketpair bind listen connect sendto sendmsg sendmmsg recvmmsg accept dup fcntl'.split(' '))(
    'no machine process makes %s',
    (name) => {
      const everything = { ...machine, hasShares: true, hasBudget: true, hasRelay: true };
      for (const profile of [processProfile(everything, 'kill'), emulated, vcpu]) {
        expect(result(profile, name, 5, 1)).toBe(KILL);
      }
    },
  );
});

test('a call of another architecture ends the process, and x32 has no calls', () => {
  const call = { number: 1, args: [0n, 0n, 0n, 0n, 0n, 0n] };
  expect(runProgram(compile(shared), { ...call, architecture: 0x40000003 })).toBe(KILL);
  expect(runProgram(compile(shared), { ...call, number: 0x40000001, architecture: X86_64 })).toBe(0x00050000 + 38);
});

test.each([
  ['refuse', 0x00050001],
  ['log', 0x7ffc0000],
] as const)('to debug, what is not allowed is met by %s', (mode, expected) => {
  expect(result(processProfile(machine, mode), 'execve')).toBe(expected);
  expect(result(vcpuProfile(mode), 'execve')).toBe(expected);
});

test('a filter is compiled once, and that of most machines does not depend on what is known last', () => {
  prepareFilters();
  const prepared = compile(processProfile({ ...machine, hasRelay: true, slot: -1, firstKept: 0 }, 'kill'));
  expect(compile(relayed)).toBe(prepared);
  expect(compile(processProfile({ ...machine, hasRelay: true, canSwitchUser: false }, 'kill'))).toBe(prepared);
  expect(compile(kvm)).not.toBe(prepared);
  expect(compile(processProfile({ ...machine, hasRelay: true }, 'refuse'))).not.toEqual(prepared);
});
