// What the guest is told of an error of a socket that carries its datagrams.
import * as libc from '../../../host/libc.js';
import type { UNREACHABLE } from './link.js';

/** Undefined: nothing. The datagram is lost, as on any network. */
export function reasonOf(errno: number): keyof typeof UNREACHABLE | undefined {
  switch (errno) {
    case libc.ECONNREFUSED:
      return 'port';
    case libc.ENETUNREACH:
    case libc.EHOSTUNREACH:
      return 'host';
    // Rules of the owner, and of the host's firewall; or the host refuses ping sockets.
    case libc.EACCES:
    case libc.EPERM:
      return 'prohibited';
    default:
      return undefined;
  }
}
