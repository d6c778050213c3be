// A socket that connects by TCP to a host outside (tcp(7)).
import * as libc from '../host/libc.js';
import type { SocketAddress } from './socket-address.js';

/**
 * Begins to connect.
 * @returns a non-blocking socket, or the negated errno
 */
export function connectSocket(address: SocketAddress): number {
  const fd = libc.socket(address.family, libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, 0);
  if (fd < 0) return -libc.errno();
  if (libc.connect(fd, address.bytes, address.length) < 0 && libc.errno() !== libc.EINPROGRESS) {
    const errno = libc.errno();
    libc.close(fd);
    return -errno;
  }
  return fd;
}
