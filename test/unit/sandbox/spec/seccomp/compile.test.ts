// A compiled seccomp filter does what its profile says: the program runs in an interpreter and is
// compared with the rules.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CAPABILITIES } from '../../../../../sandbox/agent/frames.js';
import { DEFAULT_CAPABILITIES } from '../../../../../sandbox/spec/capabilities.js';
import { type ContainerTarget, compileSeccomp } from '../../../../../sandbox/spec/seccomp/compile.js';
import {
  ACTIONS,
  type ArgumentCondition,
  OPERATORS,
  type SeccompProfile,
  type SyscallRule,
} from '../../../../../seccomp/profile.js';
import { SYSCALLS } from '../../../../../seccomp/syscalls.js';
import { checkProgram, runProgram, type SystemCall } from './bpf-interpreter.js';

const X86_64 = 0xc000003e;
const ALLOW = 0x7fff0000;
const ERRNO = 0x00050000;
const KILL_PROCESS = 0x80000000;
const I386 = 0x40000003;
const X32 = 0x40000000;
const AF_VSOCK = 40;
const NO_FAMILY = ERRNO + 97;
const KEYS = ['add_key', 'request_key', 'keyctl'];
const IO_URING = ['io_uring_setup', 'io_uring_enter', 'io_uring_register'];
/** System calls that a container without a profile has not. */
const REFUSED = [...KEYS, ...IO_URING, 'userfaultfd', 'perf_event_open', 'bpf'];
const NO_CALL = ERRNO + 38;
const target: ContainerTarget = { capabilities: DEFAULT_CAPABILITIES, kernelRelease: '6.1.192-tsvm' };

const number = (name: string) => SYSCALLS.get(name)!;

function call(name: string | number, ...args: (number | bigint)[]): SystemCall {
  const six = [...args, 0, 0, 0, 0, 0, 0].slice(0, 6).map(BigInt);
  return { number: typeof name === 'string' ? number(name) : name, architecture: X86_64, args: six };
}

function compile(profile: SeccompProfile, more: Partial<ContainerTarget> = {}) {
  const program = compileSeccomp(profile, { ...target, ...more });
  checkProgram(program);
  return (...words: Parameters<typeof call>) => runProgram(program, call(...words));
}

const allow = (names: string[], more: Partial<SyscallRule> = {}): SyscallRule => ({
  names,
  action: 'SCMP_ACT_ALLOW',
  ...more,
});

/** The decision of a profile by its documentation, without a program. */
function meaning(profile: SeccompProfile, { number: asked, architecture, args }: SystemCall): number {
  const values = {
    SCMP_ACT_KILL: 0,
    SCMP_ACT_KILL_THREAD: 0,
    SCMP_ACT_KILL_PROCESS: KILL_PROCESS,
    SCMP_ACT_TRAP: 0x00030000,
    SCMP_ACT_ERRNO: ERRNO,
    SCMP_ACT_TRACE: 0x7ff00000,
    SCMP_ACT_LOG: 0x7ffc0000,
    SCMP_ACT_ALLOW: ALLOW,
  };
  const returned = (action: keyof typeof values, errno = 1) =>
    values[action] + (action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE' ? errno : 0);
  const holds = ({ index, op, value, valueTwo = 0 }: ArgumentCondition) => {
    const [argument = 0n, operand] = [args[index], BigInt(value)];
    if (op === 'SCMP_CMP_NE') return argument !== operand;
    if (op === 'SCMP_CMP_LT') return argument < operand;
    if (op === 'SCMP_CMP_LE') return argument <= operand;
    if (op === 'SCMP_CMP_EQ') return argument === operand;
    if (op === 'SCMP_CMP_GE') return argument >= operand;
    if (op === 'SCMP_CMP_GT') return argument > operand;
    return (argument & operand) === BigInt(valueTwo);
  };
  if (architecture !== X86_64) return KILL_PROCESS;
  if (asked >= 0x40000000) return ERRNO + 38;
  const byDefault = returned(profile.defaultAction, profile.defaultErrnoRet);
  const rules = (profile.syscalls ?? []).filter(
    ({ names, action, errnoRet }) =>
      names.some((name) => SYSCALLS.get(name) === asked) && returned(action, errnoRet) !== byDefault,
  );
  const whole = rules.find(({ args: conditions = [] }) => conditions.length === 0);
  const deciding =
    whole ??
    rules.find(({ args: conditions = [] }) => {
      const isRepeated = new Set(conditions.map(({ index }) => index)).size < conditions.length;
      return isRepeated ? conditions.some(holds) : conditions.every(holds);
    });
  return deciding === undefined ? byDefault : returned(deciding.action, deciding.errnoRet);
}

test("system calls have the kernel's numbers", () => {
  const header = readFileSync('/usr/include/x86_64-linux-gnu/asm/unistd_64.h', 'utf8');
  const numbers = [...header.matchAll(/^#define __NR_(\w+)\s+(\d+)$/gm)];
  expect(numbers.length).toBeGreaterThan(300);
  for (const [, name = '', value] of numbers) expect([name, SYSCALLS.get(name)]).toEqual([name, Number(value)]);
});

describe('a filter', () => {
  test('applies the rule of each system call, and the default to all others', () => {
    const decide = compile({
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 38,
      syscalls: [
        allow(['read', 'write', 'exit_group']),
        { names: ['mkdir'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 },
        { names: ['ptrace'], action: 'SCMP_ACT_KILL' },
        { names: ['reboot'], action: 'SCMP_ACT_KILL_PROCESS' },
        { names: ['bpf'], action: 'SCMP_ACT_LOG' },
      ],
    });
    const said = ['read', 'write', 'open', 'mkdir', 'ptrace', 'reboot', 'bpf', 'exit_group', 9999].map((name) =>
      decide(name),
    );
    expect(said).toEqual([ALLOW, ALLOW, ERRNO + 38, ERRNO + 13, 0, KILL_PROCESS, 0x7ffc0000, ALLOW, ERRNO + 38]);
  });

  test('kills a process of another architecture, and refuses x32', () => {
    const program = compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW' }, target);
    checkProgram(program);
    expect(runProgram(program, { ...call('read'), architecture: 0x40000003 })).toBe(KILL_PROCESS);
    expect(runProgram(program, call(0x40000000))).toBe(ERRNO + 38);
    expect(runProgram(program, call(0xffffffff))).toBe(ERRNO + 38);
  });

  test('compares all 64 bits of an argument', () => {
    const big = 2n ** 40n + 5n;
    const check = (op: ArgumentCondition['op'], value: bigint) =>
      compile({
        defaultAction: 'SCMP_ACT_ERRNO',
        syscalls: [allow(['lseek'], { args: [{ index: 1, op, value: String(value) }] })],
      })('lseek', 0, big) === ALLOW;
    expect([big - 2n ** 32n, big - 1n, big, big + 1n].map((value) => check('SCMP_CMP_GE', value))).toEqual([
      true,
      true,
      true,
      false,
    ]);
    expect([5n, big].map((value) => check('SCMP_CMP_EQ', value))).toEqual([false, true]);
  });

  test('requires all conditions on different arguments, and any of those on the same argument', () => {
    const condition = (index: number, value: number): ArgumentCondition => ({ index, op: 'SCMP_CMP_EQ', value });
    const both = compile({
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [allow(['socket'], { args: [condition(0, 1), condition(1, 2)] })],
    });
    expect([both('socket', 1, 2), both('socket', 1, 3)]).toEqual([ALLOW, ERRNO + 1]);
    const either = compile({
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [allow(['socket'], { args: [condition(0, 1), condition(0, 2)] })],
    });
    expect([1, 2, 3].map((family) => either('socket', family))).toEqual([ALLOW, ALLOW, ERRNO + 1]);
  });

  test("applies the conditions on capabilities, architecture and kernel of Docker's own profile", () => {
    const CLONE_NEWNS = 0x7e020000;
    const profile: SeccompProfile = {
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [
        allow(['mount', 'clone'], { includes: { caps: ['CAP_SYS_ADMIN'] } }),
        allow(['clone'], {
          args: [{ index: 0, op: 'SCMP_CMP_MASKED_EQ', value: CLONE_NEWNS, valueTwo: 0 }],
          excludes: { caps: ['CAP_SYS_ADMIN'], arches: ['s390', 's390x'] },
        }),
        allow(['arch_prctl'], { includes: { arches: ['amd64', 'x32'] } }),
        allow(['sync_file_range'], { includes: { arches: ['ppc64le'] } }),
        allow(['ptrace'], { includes: { minKernel: '4.8' } }),
        allow(['bpf'], { includes: { minKernel: '6.10' } }),
        allow(['chroot'], { excludes: { minKernel: '5.0' } }),
      ],
    };
    const ask = (decide: ReturnType<typeof compile>) => [
      decide('mount') === ALLOW,
      decide('clone', 0x11) === ALLOW,
      decide('clone', 0x20011) === ALLOW,
      ...['arch_prctl', 'sync_file_range', 'ptrace', 'bpf', 'chroot'].map((name) => decide(name) === ALLOW),
    ];
    expect(ask(compile(profile))).toEqual([false, true, false, true, false, true, false, false]);
    expect(ask(compile(profile, { capabilities: CAPABILITIES, kernelRelease: '6.10.3' }))).toEqual([
      true,
      true,
      true,
      true,
      false,
      true,
      true,
      false,
    ]);
    expect(ask(compile(profile, { kernelRelease: '4.4.0-generic' })).slice(5)).toEqual([false, false, true]);
  });

  test('that is too long is refused', () => {
    const names = [...SYSCALLS.keys()];
    const args: ArgumentCondition[] = [0, 1, 2, 3].map((index) => ({ index, op: 'SCMP_CMP_GT', value: 1 }));
    expect(() =>
      compileSeccomp({ defaultAction: 'SCMP_ACT_ERRNO', syscalls: [allow(names, { args })] }, target),
    ).toThrow(/^seccomp profile: a filter of \d+ instructions, at most 4096 are possible$/);
  });

  test('agrees with any profile', () => {
    const names = fc.constantFrom('read', 'write', 'open', 'openat', 'clone', 'rseq', 'io_uring_setup', 'nosuchcall');
    const edge = fc.constantFrom(0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 32n + 1n, 2n ** 64n - 1n);
    const u64 = fc.oneof(edge, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
    const condition = fc.record({
      index: fc.nat({ max: 5 }),
      op: fc.constantFrom(...OPERATORS),
      value: u64.map(String),
      valueTwo: u64.map(String),
    });
    const rule = fc.record(
      {
        names: fc.array(names, { maxLength: 4 }),
        action: fc.constantFrom(...ACTIONS),
        errnoRet: fc.nat({ max: 4095 }),
        args: fc.array(condition, { maxLength: 6 }),
      },
      { requiredKeys: ['names', 'action'] },
    );
    const profiles = fc.record(
      {
        defaultAction: fc.constantFrom(...ACTIONS),
        defaultErrnoRet: fc.nat({ max: 4095 }),
        syscalls: fc.array(rule, { maxLength: 10 }),
      },
      { requiredKeys: ['defaultAction'] },
    );
    const calls = fc.array(
      fc.record({
        number: fc.oneof(
          fc.constantFrom(0, 1, 2, 3, 56, 257, 258, 333, 334, 335, 425, 0x3fffffff, 0x40000001, 0xffffffff),
          fc.nat({ max: 500 }),
        ),
        architecture: fc.constantFrom(X86_64, X86_64, X86_64, 0x40000003),
        args: fc.array(u64, { minLength: 6, maxLength: 6 }),
      }),
      { minLength: 20, maxLength: 40 },
    );
    fc.assert(
      fc.property(profiles, calls, (profile, asked) => {
        const program = compileSeccomp(profile, target);
        checkProgram(program);
        // Random arguments seldom meet a condition: they are tried with the profile's own operands
        // too.
        const operands = (profile.syscalls ?? []).flatMap(({ args = [] }) => args.map(({ value }) => BigInt(value)));
        for (const [at, random] of asked.entries()) {
          const args = random.args.map((value, index) => operands[(at + index) % (operands.length + 1)] ?? value);
          for (const call of [random, { ...random, args }]) {
            expect(runProgram(program, call)).toBe(meaning(profile, call));
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('AF_VSOCK', () => {
  const families = [1, 2, 10, 16, 38, 40, 41, 2n ** 32n + 40n, 2n ** 63n + 38n];
  const isOneOf = (family: number | bigint, ...refused: bigint[]) =>
    refused.includes(BigInt.asUintN(32, BigInt(family)));
  const allowing: SeccompProfile = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [allow(['socket'])] };

  test('is refused beside a profile that allows sockets, and other families are not', () => {
    const program = compileSeccomp(allowing, target);
    checkProgram(program);
    for (const family of families) {
      expect(runProgram(program, call('socket', family, 1, 0))).toBe(isOneOf(family, 40n) ? NO_FAMILY : ALLOW);
    }
  });

  test('is refused with AF_ALG to a container without a profile, by the numbers of x32 and i386 too', () => {
    const program = compileSeccomp(undefined, target);
    checkProgram(program);
    const i386 = (number: number, ...args: number[]) =>
      runProgram(program, { ...call(number, ...args), architecture: I386 });
    for (const family of families) {
      const wanted = isOneOf(family, 38n, 40n) ? NO_FAMILY : ALLOW;
      expect(runProgram(program, call('socket', family, 1, 0))).toBe(wanted);
      expect(runProgram(program, call(X32 + number('socket'), family))).toBe(wanted);
      expect(i386(359, Number(BigInt.asUintN(32, BigInt(family))))).toBe(wanted);
    }
    // socketcall(2): its arguments are out of reach, so socket(2) by it is refused as a whole.
    expect([i386(102, 1), i386(102, 3), i386(41, AF_VSOCK)]).toEqual([NO_FAMILY, ALLOW, ALLOW]);
  });

  test('is nothing that other system calls are asked about', () => {
    const program = compileSeccomp(undefined, target);
    for (const name of SYSCALLS.keys()) {
      if (name !== 'socket' && !REFUSED.includes(name))
        expect(runProgram(program, call(name, AF_VSOCK, 1))).toBe(ALLOW);
    }
  });
});

describe('key rings', () => {
  test('are missing in a container without a profile, by the numbers of x32 and i386 too', () => {
    const program = compileSeccomp(undefined, target);
    for (const name of KEYS) {
      expect(runProgram(program, call(name))).toBe(ERRNO + 38);
      expect(runProgram(program, call(X32 + number(name)))).toBe(ERRNO + 38);
    }
    // Their numbers on i386, and those before and after (arch/x86/entry/syscalls/syscall_32.tbl).
    const decide = (number: number) => runProgram(program, { ...call(number), architecture: I386 });
    expect([285, 286, 287, 288, 289, 248].map(decide)).toEqual([ALLOW, ...KEYS.map(() => ERRNO + 38), ALLOW, ALLOW]);
  });

  test('and AF_ALG are decided about by a profile', () => {
    const decide = compile({ defaultAction: 'SCMP_ACT_ALLOW' });
    expect(KEYS.map((name) => decide(name))).toEqual(KEYS.map(() => ALLOW));
    expect([decide('socket', 38), decide('socket', AF_VSOCK)]).toEqual([ALLOW, NO_FAMILY]);
  });
});

describe('without a profile', () => {
  test('io_uring, which passes by the rules for sockets, and what Docker refuses to users, are missing', () => {
    const program = compileSeccomp(undefined, target);
    checkProgram(program);
    for (const name of REFUSED) {
      expect(runProgram(program, call(name))).toBe(NO_CALL);
      expect(runProgram(program, call(X32 + number(name)))).toBe(NO_CALL);
    }
    // Numbers on i386 (arch/x86/entry/syscalls/syscall_32.tbl), each with those before and after.
    const refused = [286, 287, 288, 336, 357, 374, 425, 426, 427];
    for (const each of refused.flatMap((n) => [n - 1, n, n + 1])) {
      const decision = runProgram(program, { ...call(each), architecture: I386 });
      expect([each, decision]).toEqual([each, refused.includes(each) ? NO_CALL : ALLOW]);
    }
  });

  test.each([
    ['perf_event_open', 'PERFMON'],
    ['perf_event_open', 'SYS_ADMIN'],
    ['bpf', 'BPF'],
    ['bpf', 'SYS_ADMIN'],
  ] as const)('%s is there with %s, as in Docker', (name, capability) => {
    const program = compileSeccomp(undefined, { ...target, capabilities: [...DEFAULT_CAPABILITIES, capability] });
    expect(runProgram(program, call(name))).toBe(ALLOW);
    for (const other of [...KEYS, ...IO_URING, 'userfaultfd']) expect(runProgram(program, call(other))).toBe(NO_CALL);
  });

  /**
   * What Docker's profile of June 2026 (moby/profiles, cd3bed8) refuses to a container with the
   * default capabilities, apart from arguments of clone, personality and socket. Each is refused
   * here too, or this tells why not.
   */
  const DOCKER: [why: string, calls: string][] = [
    ['refused', REFUSED.join(' ')],
    [
      'The kernel asks for a capability that the container lacks.',
      `syslog vhangup acct settimeofday clock_settime swapon swapoff reboot iopl ioperm init_module finit_module
      delete_module kexec_load kexec_file_load open_by_handle_at quotactl quotactl_fd`,
    ],
    [
      'The kernel asks for a capability in the namespaces of the caller: containers in the container need them.',
      `unshare setns clone3 mount umount2 pivot_root sethostname setdomainname open_tree move_mount fsopen fsconfig
      fsmount fspick mount_setattr`,
    ],
    [
      'About the caller and its own processes.',
      'kcmp pidfd_getfd process_madvise migrate_pages move_pages mbind set_mempolicy get_mempolicy set_mempolicy_home_node fanotify_init',
    ],
    [
      'The guest has no such system call, or it tells what /proc tells.',
      `uselib ustat sysfs _sysctl create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall tuxcall security lookup_dcookie vserver
      lsm_get_self_attr lsm_set_self_attr lsm_list_modules`,
    ],
  ];

  test('each system call that Docker refuses is refused, or there is a reason', () => {
    const program = compileSeccomp(undefined, target);
    for (const [why, names] of DOCKER) {
      for (const name of names.split(/\s+/)) {
        expect([name, SYSCALLS.has(name)]).toEqual([name, true]);
        expect([name, runProgram(program, call(name))]).toEqual([name, why === 'refused' ? NO_CALL : ALLOW]);
      }
    }
  });
});
