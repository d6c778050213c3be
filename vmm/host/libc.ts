// The C library calls that the machine needs, through koffi, and Linux's constants for them
// (x86-64). Addresses are JavaScript numbers: user space ends below 2^47, well within 2^53.
import { getSystemErrorName } from 'node:util';
import { setFileLock } from '../../libc/file-lock.js';
import { errno, libcFunction, loadLibc } from '../../libc/index.js';

export const AT_FDCWD = -100;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;

export const MADV_DONTNEED = 4;
export const MADV_REMOVE = 9;
export const MADV_HUGEPAGE = 14;
export const MADV_NOHUGEPAGE = 15;

export const TMPFS_MAGIC = 0x01021994n;

export const MFD_CLOEXEC = 1;
export const EFD_CLOEXEC = O_CLOEXEC;
export const EFD_NONBLOCK = O_NONBLOCK;

export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 1;
export const EPOLLOUT = 4;
export const EPOLLERR = 8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
/** Reports a change of a descriptor's events once. */
export const EPOLLET = 0x80000000;

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = O_NONBLOCK;
export const SOCK_CLOEXEC = O_CLOEXEC;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_OOBINLINE = 10;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const SO_SNDBUFFORCE = 32;
export const SO_MEMINFO = 55;
export const IPPROTO_IP = 0;
export const IP_PKTINFO = 8;
export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1;
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;
export const IPV6_RECVPKTINFO = 49;
export const IPV6_PKTINFO = 50;
export const IPPROTO_ICMPV6 = 58;
export const SCM_RIGHTS = 1;
export const MSG_PEEK = 2;
export const MSG_CTRUNC = 8;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_CMSG_CLOEXEC = 0x40000000;

export const F_SETFL = 4;
export const F_SETSIG = 10;
export const F_SETOWN_EX = 15;
export const F_OWNER_TID = 0;
export const O_ASYNC = 0o20000;
export const F_DUPFD_CLOEXEC = 1030;

export const SIGBUS = 7;
export const SIGKILL = 9;
export const SIGUSR1 = 10;
export const SIGSEGV = 11;
export const SIG_DFL = 0;
export const SIG_IGN = 1;
export const SIG_BLOCK = 0;
export const SIGCONT = 18;
export const SIGSTOP = 19;
export const P_PIDFD = 3;
export const WSTOPPED = 2;
export const WEXITED = 4;
export const WNOWAIT = 0x01000000;
export const CLD_EXITED = 1;
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;

export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_ZERO_RANGE = 0x10;

export const PR_SET_PDEATHSIG = 1;
export const PR_SET_DUMPABLE = 4;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
export const RLIMIT_CORE = 4;

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const ENXIO = 6;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOSPC = 28;
export const EPIPE = 32;
export const EOPNOTSUPP = 95;
export const EAFNOSUPPORT = 97;
export const EADDRINUSE = 98;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ENETUNREACH = 101;
export const EHOSTUNREACH = 113;
export const ECONNREFUSED = 111;
export const EINPROGRESS = 115;

/**
 * An address argument: a number (a virtual address of this process), or a buffer whose memory is
 * passed.
 */
export type Address = number | NodeJS.TypedArray | null;

type Call<A extends unknown[]> = (...args: A) => number;

export const open: Call<[path: string, flags: number, mode: number]> = libcFunction('int open(const char *, int, int)');
export const readlinkat: Call<[directory: number, path: string, buffer: Address, length: number]> = libcFunction(
  'long readlinkat(int, const char *, void *, size_t)',
);
export const close: Call<[fd: number]> = libcFunction('int close(int)');
export const read: Call<[fd: number, buffer: Address, length: number]> = libcFunction('long read(int, void *, size_t)');
export const write: Call<[fd: number, buffer: Address, length: number]> = libcFunction(
  'long write(int, const void *, size_t)',
);
type Vectored = Call<[fd: number, iov: Address, count: number, offset: number, flags: number]>;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const lseek: Call<[fd: number, offset: number, whence: number]> = libcFunction('long lseek(int, long, int)');
const preadv2: Vectored = libcFunction('long preadv2(int, const void *, int, long, int)');
const pwritev2: Vectored = libcFunction('long pwritev2(int, const void *, int, long, int)');
/** As an offset: the file's position, as a stream has none. */
const AT_POSITION = -1;
// Two system calls serve files and streams, which keeps the machine process's list of calls short.
export const preadv = (fd: number, iov: Address, count: number, offset: number): number =>
  preadv2(fd, iov, count, offset, 0);
export const pwritev = (fd: number, iov: Address, count: number, offset: number): number =>
  pwritev2(fd, iov, count, offset, 0);
export const readv = (fd: number, iov: Address, count: number): number => preadv2(fd, iov, count, AT_POSITION, 0);
export const writev = (fd: number, iov: Address, count: number): number => pwritev2(fd, iov, count, AT_POSITION, 0);
export const fcntl: Call<[fd: number, command: number, argument: number]> = libcFunction('int fcntl(int, int, long)');
/** Locks a file that others may read too. Returns 0, or the errno. */
export const lockForReading = (fd: number): number => setFileLock(fd, 'read');
export const fstatfs: Call<[fd: number, status: Address]> = libcFunction('int fstatfs(int, void *)');
export const fdatasync: Call<[fd: number]> = libcFunction('int fdatasync(int)');
export const ftruncate: Call<[fd: number, length: number]> = libcFunction('int ftruncate(int, long)');
export const fallocate: Call<[fd: number, mode: number, offset: number, length: number]> = libcFunction(
  'int fallocate(int, int, long, long)',
);
/** `ioctl` with an integer argument. */
export const ioctl: Call<[fd: number, request: number, argument: number]> = libcFunction(
  'int ioctl(int, unsigned long, long)',
);
/** `ioctl` with a pointer to a structure. */
export const ioctlPointer: Call<[fd: number, request: number, argument: Address]> = libcFunction(
  'int ioctl(int, unsigned long, void *)',
);
export const mmap: Call<[address: Address, length: number, prot: number, flags: number, fd: number, offset: number]> =
  libcFunction('long mmap(void *, size_t, int, int, int, long)');
export const munmap: Call<[address: number, length: number]> = libcFunction('int munmap(long, size_t)');
export const madvise: Call<[address: number, length: number, advice: number]> = libcFunction(
  'int madvise(long, size_t, int)',
);
export const memfd_create: Call<[name: string, flags: number]> = libcFunction('int memfd_create(const char *, uint)');
/** Copies at most `length` bytes in the kernel, from where both files are. 0: `from` has no more. */
export const sendfile: Call<[to: number, from: number, offset: null, length: number]> = libcFunction(
  'long sendfile(int, int, void *, size_t)',
);
export const eventfd: Call<[initial: number, flags: number]> = libcFunction('int eventfd(uint, int)');
export const epoll_create1: Call<[flags: number]> = libcFunction('int epoll_create1(int)');
export const epoll_ctl: Call<[epoll: number, operation: number, fd: number, event: Address]> = libcFunction(
  'int epoll_ctl(int, int, int, void *)',
);
/** `mask` is a `sigset_t`; null: signals are as they were. libuv makes this call too. */
export const epoll_pwait: Call<[epoll: number, events: Address, maxEvents: number, timeout: number, mask: Address]> =
  libcFunction('int epoll_pwait(int, void *, int, int, const void *)');
export const socket: Call<[domain: number, type: number, protocol: number]> = libcFunction('int socket(int, int, int)');
export const connect: Call<[fd: number, address: Address, length: number]> = libcFunction(
  'int connect(int, const void *, uint)',
);
export const bind: Call<[fd: number, address: Address, length: number]> = libcFunction(
  'int bind(int, const void *, uint)',
);
/** `length` is an `int32_t`: the room at `address`. */
export const getsockname: Call<[fd: number, address: Address, length: Address]> = libcFunction(
  'int getsockname(int, void *, void *)',
);
export const listen: Call<[fd: number, backlog: number]> = libcFunction('int listen(int, int)');
export const accept4: Call<[fd: number, address: Address, length: Address, flags: number]> = libcFunction(
  'int accept4(int, void *, void *, int)',
);
export const pipe2: Call<[fds: Address, flags: number]> = libcFunction('int pipe2(void *, int)');
export const socketpair: Call<[domain: number, type: number, protocol: number, fds: Address]> = libcFunction(
  'int socketpair(int, int, int, void *)',
);
/** `message` is a `struct msghdr`, as for {@link recvmsg}. */
export const sendmsg: Call<[fd: number, message: Address, flags: number]> = libcFunction(
  'long sendmsg(int, const void *, int)',
);
export const recvmsg: Call<[fd: number, message: Address, flags: number]> = libcFunction(
  'long recvmsg(int, void *, int)',
);
export const setsockopt: Call<[fd: number, level: number, option: number, value: Address, length: number]> =
  libcFunction('int setsockopt(int, int, int, const void *, uint)');
/** `length` is an `int32_t`: the room at `value`. */
export const getsockopt: Call<[fd: number, level: number, option: number, value: Address, length: Address]> =
  libcFunction('int getsockopt(int, int, int, void *, void *)');
/** The clock of dates. `time` is a `struct timespec`: u64 seconds, u64 nanoseconds. */
const clock_gettime: Call<[clock: number, time: Address]> = libcFunction('int clock_gettime(int, void *)');
export const shutdown: Call<[fd: number, how: number]> = libcFunction('int shutdown(int, int)');
export const getpid: Call<[]> = libcFunction('int getpid()');
export const gettid: Call<[]> = libcFunction('int gettid()');
/** `info` is a `siginfo_t` of 128 bytes. */
export const waitid: Call<[type: number, id: number, info: Address, options: number]> = libcFunction(
  'int waitid(int, uint, void *, int)',
);
type SyscallArgument = number | bigint;
/** A system call by number, with six integers or addresses. */
export const syscall: Call<
  [
    number: number,
    a: SyscallArgument,
    b: SyscallArgument,
    c: SyscallArgument,
    d: SyscallArgument,
    e: SyscallArgument,
    f: SyscallArgument,
  ]
> = libcFunction('long syscall(long, long, long, long, long, long, long)');
/** `fcntl` with a pointer to a structure. */
export const fcntlPointer: Call<[fd: number, command: number, argument: Address]> =
  libcFunction('int fcntl(int, int, void *)');
/** {@link SIG_DFL} or {@link SIG_IGN} as a handler. */
export const signal: Call<[signal: number, handler: number]> = libcFunction('long signal(int, long)');
/** `set` and `old` are a `sigset_t` of 128 bytes. Returns the errno. */
export const pthread_sigmask: Call<[how: number, set: Address, old: Address]> = libcFunction(
  'int pthread_sigmask(int, const void *, void *)',
);
export const signalfd: Call<[fd: number, set: Address, flags: number]> = libcFunction(
  'int signalfd(int, const void *, int)',
);

/** Ends the process and all its threads at once, whatever they are doing. */
export const _exit: Call<[status: number]> = libcFunction('int _exit(int)');
export const prctl: Call<[option: number, a: number, b: number, c: number, d: number]> = libcFunction(
  'int prctl(int, ulong, ulong, ulong, ulong)',
);
export const getrlimit: Call<[resource: number, limit: Address]> = libcFunction('int getrlimit(int, void *)');
export const setrlimit: Call<[resource: number, limit: Address]> = libcFunction('int setrlimit(int, const void *)');

export { errno };

/** A failed system call. `code` is the name of the errno (`ENOENT`), as on Node's own errors. */
export class SystemError extends Error {
  readonly code: string;
  constructor(
    readonly syscall: string,
    readonly errno: number,
  ) {
    const code = getSystemErrorName(-errno);
    super(`${syscall}: ${code}`);
    this.name = 'SystemError';
    this.code = code;
  }
}

/** Returns `result` if it is not negative. @throws SystemError */
export function check(result: number, syscall: string): number {
  if (result < 0) throw new SystemError(syscall, errno());
  return result;
}

/**
 * Returns a view of `length` bytes of this process's memory at `address`. The memory must outlive
 * the view.
 */
export function viewMemory(address: number, length: number): ArrayBuffer {
  return loadLibc().koffi.view(address, length);
}

/** linux/asm-generic/ioctls.h. */
export const FIONBIO = 0x5421;
const on = Int32Array.of(1);

/** Makes a descriptor of any kind non-blocking. */
export function setNonBlocking(fd: number): void {
  ioctlPointer(fd, FIONBIO, on);
}

/** linux/sockios.h. */
export const SIOCOUTQ = 0x5411;
const queued = new Int32Array(1);

/** Whether the other end of a UNIX socket has not read all that was written; false for another file. */
export function isUnread(fd: number): boolean {
  return ioctlPointer(fd, SIOCOUTQ, queued) === 0 && queued[0] !== 0;
}

/** Creates a non-blocking, close-on-exec eventfd with count 0. */
export function createEventFd(): number {
  return check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd');
}

/** Returns a descriptor that becomes readable when the process `pid` ends (pidfd_open(2)). */
export function pidfdOpen(pid: number): number {
  return check(syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0, 0, 0), 'pidfd_open');
}

/**
 * Sends a signal to the process that `pidFd` stands for, and never to another one
 * (pidfd_send_signal(2)). One that has ended gets none.
 */
export function signalProcess(pidFd: number, signal: number): void {
  syscall(SYS_PIDFD_SEND_SIGNAL, pidFd, signal, 0, 0, 0, 0);
}

/** Creates two connected stream sockets, both close-on-exec. */
export function createSocketPair(): [number, number] {
  return fillPair((fds) => check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 'socketpair'));
}

/** Creates a pipe and returns its read end and its write end, both close-on-exec. */
export function createPipe(): [number, number] {
  return fillPair((fds) => check(pipe2(fds, O_CLOEXEC), 'pipe2'));
}

/** Returns the two descriptors that `call` writes. */
function fillPair(call: (fds: Int32Array) => void): [number, number] {
  const fds = new Int32Array(2);
  call(fds);
  const [first = -1, second = -1] = fds;
  return [first, second];
}

const one = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);
const drained = new Uint8Array(8);

/** Adds one to an eventfd's count. */
export function signalEventFd(fd: number): void {
  write(fd, one, 8);
}

/** Resets an eventfd's count to 0. Returns true if the count was above 0. */
export function drainEventFd(fd: number): boolean {
  return read(fd, drained, 8) === 8;
}

/**
 * Returns a `struct sockaddr_un` for `path` (unix(7)). @throws RangeError if the path has more than
 * 107 bytes
 */
export function unixAddress(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  if (bytes.length > 107) throw new RangeError(`unix socket path is longer than 107 bytes: ${path}`);
  const address = Buffer.alloc(2 + bytes.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  return address;
}

const SYS_FSTAT = 5;
const fstat: Call<[number: number, fd: number, status: Address]> = libcFunction('long syscall(long, long, void *)');
const status = new BigUint64Array(18);

/** Of an open file: its number, bytes, and bytes that it occupies. */
export interface FileStatus {
  inode: bigint;
  size: number;
  occupied: number;
}

/** By fstat(2): statx(2), which Node.js has in its place, takes paths too. @throws SystemError */
export function fileStatus(fd: number): FileStatus {
  check(fstat(SYS_FSTAT, fd, status), 'fstat');
  // `struct stat` of x86-64: st_ino, st_size and st_blocks.
  return { inode: status[1]!, size: Number(status[6]!), occupied: Number(status[8]!) * 512 };
}

const CLOCK_REALTIME = 0;
const date = new Uint32Array(4);

/**
 * Milliseconds since 1970, as `Date.now()`. V8 reads that by gettimeofday(2), where the host's clock
 * cannot be read in user space: the filter of system calls does not have it (accel/system-calls.ts).
 */
export function now(): number {
  clock_gettime(CLOCK_REALTIME, date);
  return (date[0]! + date[1]! * 2 ** 32) * 1000 + Math.floor(date[2]! / 1e6);
}
