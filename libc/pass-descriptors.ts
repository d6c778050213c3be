// Passes open files to another process over a unix socket (unix(7), SCM_RIGHTS).
import { getSystemErrorName } from 'node:util';
import { errno, loadLibc } from './index.js';

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of `struct cmsghdr`: `u64` length, `i32` level, `i32` type. */
const CMSG_HEADER = 16;

/** The most descriptors of one message (Linux, SCM_MAX_FD). */
export const MAX_DESCRIPTORS = 253;

type Sendmsg = (fd: number, message: object, flags: number) => number;
let sendmsg: Sendmsg | undefined;

function bind(): Sendmsg {
  const { koffi, library } = loadLibc();
  const iovec = koffi.struct({ base: 'void *', length: 'size_t' });
  const msghdr = koffi.struct({
    name: 'void *',
    nameLength: 'uint32_t',
    iov: koffi.pointer(iovec),
    iovLength: 'size_t',
    control: 'void *',
    controlLength: 'size_t',
    flags: 'int',
  });
  return library.func('sendmsg', 'long', ['int', koffi.pointer(msghdr), 'int']);
}

/**
 * Sends `bytes` with the descriptors, all or nothing. Does not wait for room in the socket.
 * @throws Error if the peer is gone, or the socket is full
 */
export function passDescriptors(socket: number, descriptors: readonly number[], bytes: Uint8Array): void {
  const count = tryPassDescriptors(socket, descriptors, bytes);
  if (count < 0) throw new Error(`sendmsg: ${getSystemErrorName(count)}`);
  if (count < bytes.length) throw new Error('sendmsg: incomplete');
}

/**
 * Sends the descriptors with as many of the bytes as there is room for. Returns their number, or the
 * negated errno if nothing was sent.
 */
export function tryPassDescriptors(socket: number, descriptors: readonly number[], bytes: Uint8Array): number {
  const length = CMSG_HEADER + 4 * descriptors.length;
  const control = Buffer.alloc(Math.ceil(length / 8) * 8);
  control.writeUInt32LE(length, 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  for (const [index, fd] of descriptors.entries()) control.writeInt32LE(fd, CMSG_HEADER + 4 * index);
  const message = {
    name: null,
    nameLength: 0,
    iov: [{ base: bytes, length: bytes.length }],
    iovLength: 1,
    control: descriptors.length > 0 ? control : null,
    controlLength: descriptors.length > 0 ? control.length : 0,
    flags: 0,
  };
  sendmsg ??= bind();
  const count = sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return count < 0 ? -errno() : count;
}
