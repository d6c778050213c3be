// What a container is refused whatever else its kernel can do: families of sockets, and system calls
// that hand every user a part of the kernel that was often broken. Docker's profile refuses them too.
// io_uring would pass by the rules for sockets (IORING_OP_SOCKET). A profile may allow it, so the
// vsock device and its listeners have bounds as well.

import {
  type Code,
  DATA_ARCH,
  DATA_ARGS,
  DATA_NR,
  keep,
  load,
  ret,
  SECCOMP_RET_ERRNO,
  when,
  whenAtLeast,
} from '../../../seccomp/bpf.js';
import type { Capability } from '../../agent/frames.js';

const AUDIT_ARCH_X86_64 = 0xc000003e;
const AUDIT_ARCH_I386 = 0x40000003;
const X32_SYSCALL_BIT = 0x40000000;
/** The number of socket(2) for 64 bits and x32, and for i386. */
const SOCKET = 41;
const I386_SOCKET = 359;
/** socketcall(2) and its call for socket(2), whose arguments are in memory. */
const I386_SOCKETCALL = 102;
const SYS_SOCKET = 1;
/** System calls by their numbers for 64 bits and x32, and for i386. */
interface Refused {
  numbers: readonly number[];
  i386: readonly number[];
  /** Each of these lets a container have them, as in Docker's profile. */
  unless?: readonly Capability[];
}

const CALLS: readonly Refused[] = [
  // add_key(2), request_key(2), keyctl(2).
  { numbers: [248, 249, 250], i386: [286, 287, 288] },
  // perf_event_open(2)
  { numbers: [298], i386: [336], unless: ['PERFMON', 'SYS_ADMIN'] },
  // bpf(2)
  { numbers: [321], i386: [357], unless: ['BPF', 'SYS_ADMIN'] },
  // userfaultfd(2)
  { numbers: [323], i386: [374] },
  // io_uring_setup(2), io_uring_enter(2), io_uring_register(2).
  { numbers: [425, 426, 427], i386: [425, 426, 427] },
];
/** The kernel's ciphers. Any user may open one, and faults in them gave users the kernel. */
const AF_ALG = 38;
/**
 * The machine's vsock device is the agent's way to the host, and the family has no namespaces: any
 * user of a container could use up its connections.
 */
const AF_VSOCK = 40;
/** As from a kernel without the family, and without the system call. */
const EAFNOSUPPORT = 97;
const ENOSYS = 38;

const NO_FAMILY = ret(SECCOMP_RET_ERRNO + EAFNOSUPPORT);
const NO_CALL = ret(SECCOMP_RET_ERRNO + ENOSYS);

/** Refuses sockets of the families, if the call is socket(2). */
function refuse(socket: number, families: readonly number[]): Code {
  return when(socket, [load(DATA_ARGS), ...families.flatMap((family) => when(family, [NO_FAMILY]))]);
}

/** Refuses system calls. Most calls have a lower number than each of these. */
function refuseCalls(calls: readonly number[]): Code {
  const refused = calls.flatMap((call) => when(call, [NO_CALL]));
  return calls.length === 0 ? [] : whenAtLeast(Math.min(...calls), refused);
}

function refuse64(families: readonly number[], calls: readonly number[]): Code {
  return [load(DATA_NR), keep(~X32_SYSCALL_BIT >>> 0), ...refuseCalls(calls), ...refuse(SOCKET, families)];
}

/** Refuses sockets of the family AF_VSOCK. Falls through for other calls; x86-64 and x32 only. */
export const REFUSE_VSOCK_64: Code = refuse64([AF_VSOCK], []);

/**
 * Refuses sockets of AF_VSOCK and AF_ALG, and the system calls above, for system calls of any
 * architecture that the processor has. Falls through for other calls.
 */
export function refuseByDefault(capabilities: readonly Capability[]): Code {
  const calls = CALLS.filter(({ unless = [] }) => !unless.some((name) => capabilities.includes(name)));
  return [
    load(DATA_ARCH),
    ...when(
      AUDIT_ARCH_X86_64,
      refuse64(
        [AF_ALG, AF_VSOCK],
        calls.flatMap(({ numbers }) => numbers),
      ),
    ),
    load(DATA_ARCH),
    ...when(AUDIT_ARCH_I386, [
      load(DATA_NR),
      ...refuseCalls(calls.flatMap(({ i386 }) => i386)),
      ...refuse(I386_SOCKET, [AF_ALG, AF_VSOCK]),
      load(DATA_NR),
      // The family cannot be seen here. Programs since 2016 call socket(2) itself.
      ...when(I386_SOCKETCALL, [load(DATA_ARGS), ...when(SYS_SOCKET, [NO_FAMILY])]),
    ]),
  ];
}
