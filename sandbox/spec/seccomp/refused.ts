// What a container is refused whatever else its kernel can do: its families of sockets, and its key
// rings. IORING_OP_SOCKET is beyond seccomp's reach, so the vsock device and its listeners have
// bounds as well.
import { type Code, DATA_ARCH, DATA_ARGS, DATA_NR, keep, load, ret, SECCOMP_RET_ERRNO, when } from './bpf.js';

const AUDIT_ARCH_X86_64 = 0xc000003e;
const AUDIT_ARCH_I386 = 0x40000003;
const X32_SYSCALL_BIT = 0x40000000;
/** The number of socket(2) for 64 bits and x32, and for i386. */
const SOCKET = 41;
const I386_SOCKET = 359;
/** socketcall(2) and its call for socket(2), whose arguments are in memory. */
const I386_SOCKETCALL = 102;
const SYS_SOCKET = 1;
/** add_key(2), request_key(2), keyctl(2). */
const KEYS = [248, 249, 250];
const I386_KEYS = [286, 287, 288];
/** The kernel's ciphers. Any user may open one, and faults in them gave users the kernel. */
const AF_ALG = 38;
/**
 * The machine's vsock device is the agent's way to the host, and the family has no namespaces: any
 * user of a container could use up its connections.
 */
const AF_VSOCK = 40;
/** As from a kernel without the family, and without key rings. */
const EAFNOSUPPORT = 97;
const ENOSYS = 38;

const NO_FAMILY = ret(SECCOMP_RET_ERRNO + EAFNOSUPPORT);
const NO_CALL = ret(SECCOMP_RET_ERRNO + ENOSYS);

/** Refuses sockets of the families, if the call is socket(2). */
function refuse(socket: number, families: readonly number[]): Code {
  return when(socket, [load(DATA_ARGS), ...families.flatMap((family) => when(family, [NO_FAMILY]))]);
}

function refuse64(families: readonly number[], calls: readonly number[]): Code {
  const refused = calls.flatMap((call) => when(call, [NO_CALL]));
  return [load(DATA_NR), keep(~X32_SYSCALL_BIT >>> 0), ...refused, ...refuse(SOCKET, families)];
}

/** Refuses sockets of the family AF_VSOCK. Falls through for other calls; x86-64 and x32 only. */
export const REFUSE_VSOCK_64: Code = refuse64([AF_VSOCK], []);

/**
 * Refuses AF_VSOCK, AF_ALG and key rings, for system calls of any architecture that the processor
 * has. Falls through for other calls.
 */
export const REFUSE_BY_DEFAULT: Code = [
  load(DATA_ARCH),
  ...when(AUDIT_ARCH_X86_64, refuse64([AF_ALG, AF_VSOCK], KEYS)),
  load(DATA_ARCH),
  ...when(AUDIT_ARCH_I386, [
    load(DATA_NR),
    ...I386_KEYS.flatMap((call) => when(call, [NO_CALL])),
    ...refuse(I386_SOCKET, [AF_ALG, AF_VSOCK]),
    load(DATA_NR),
    // The family cannot be seen here. Programs since 2016 call socket(2) itself.
    ...when(I386_SOCKETCALL, [load(DATA_ARGS), ...when(SYS_SOCKET, [NO_FAMILY])]),
  ]),
];
