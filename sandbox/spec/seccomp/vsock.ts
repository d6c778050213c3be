// The rule that keeps a container off the machine's vsock device. The device is the agent's way to
// the host, and AF_VSOCK has no namespaces: any user of a container could use up its connections.
// IORING_OP_SOCKET is beyond seccomp's reach, so the device and the listeners have bounds as well.
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
const AF_VSOCK = 40;
/** As from a kernel without vsock. */
const EAFNOSUPPORT = 97;

const REFUSED = ret(SECCOMP_RET_ERRNO + EAFNOSUPPORT);
const NO_VSOCK = [load(DATA_ARGS), ...when(AF_VSOCK, [REFUSED])];

/** Refuses sockets of the family AF_VSOCK. Falls through for other calls; x86-64 and x32 only. */
export const REFUSE_VSOCK_64: Code = [load(DATA_NR), keep(~X32_SYSCALL_BIT >>> 0), ...when(SOCKET, NO_VSOCK)];

/** The same for system calls of any architecture that the processor has. */
export const REFUSE_VSOCK: Code = [
  load(DATA_ARCH),
  ...when(AUDIT_ARCH_X86_64, REFUSE_VSOCK_64),
  load(DATA_ARCH),
  ...when(AUDIT_ARCH_I386, [
    load(DATA_NR),
    ...when(I386_SOCKET, NO_VSOCK),
    load(DATA_NR),
    // The family cannot be seen here. Programs since 2016 call socket(2) itself.
    ...when(I386_SOCKETCALL, [load(DATA_ARGS), ...when(SYS_SOCKET, [REFUSED])]),
  ]),
];
