// The host's side of what a guest sends out: sockets of TCP (tcp(7)), UDP (udp(7)) and ping (icmp(7)),
// each connected with one host outside.
import * as libc from '../host/libc.js';
import type { SocketAddress } from './socket-address.js';

const NEW = libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC;
const ONE = Int32Array.of(1);
const ZERO = Int32Array.of(0);
/** Ports of the guest whose ports of the host are remembered, of each family. */
const MAX_PORTS = 4096;
/** Datagrams of others that came before a socket was connected. */
const MAX_STRAGGLERS = 1000;

/**
 * Begins to connect by TCP.
 * @returns a non-blocking socket, or the negated errno
 */
export function connectTcp(address: SocketAddress): number {
  return connect(libc.socket(address.family, libc.SOCK_STREAM | NEW, 0), address);
}

/**
 * Connects a ping socket. The host must allow them: `net.ipv4.ping_group_range`, of IPv6 too.
 * @returns a non-blocking socket, or the negated errno
 */
export function connectPing(address: SocketAddress): number {
  const protocol = address.family === libc.AF_INET ? libc.IPPROTO_ICMP : libc.IPPROTO_ICMPV6;
  return connect(libc.socket(address.family, libc.SOCK_DGRAM | NEW, protocol), address);
}

/** True if this user may have ping sockets. */
export function canPing(): boolean {
  const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM | NEW, libc.IPPROTO_ICMP);
  if (fd >= 0) libc.close(fd);
  return fd >= 0;
}

function connect(fd: number, address: SocketAddress): number {
  if (fd < 0) return -libc.errno();
  if (libc.connect(fd, address.bytes, address.length) < 0 && libc.errno() !== libc.EINPROGRESS) return closed(fd);
  return fd;
}

/** Closes the socket. Returns the negated errno of the call that failed. */
function closed(fd: number): number {
  const errno = libc.errno();
  libc.close(fd);
  return -errno;
}

/** Lets sockets of this user have the socket's port too, or no longer. Those that have it keep it. */
export function sharePort(fd: number, isShared: boolean): void {
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT, isShared ? ONE : ZERO, 4);
}

/** A socket of UDP, which may share its port; the negated errno if there is none. */
export function createUdp(family: number): number {
  const fd = libc.socket(family, libc.SOCK_DGRAM | NEW, 0);
  if (fd < 0) return -libc.errno();
  if (family === libc.AF_INET6) libc.setsockopt(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, ONE, 4);
  return fd;
}

/**
 * Connects sockets of UDP. Those of one port of the guest have one port of the host, so that a host
 * outside, and what it tells another one, see one port (RFC 4787, 4.1).
 */
export class UdpSockets {
  /** The host's ports by family and port of the guest. The oldest come first. */
  readonly #ports = new Map<string, number>();
  readonly #local: SocketAddress;
  readonly #byte = new Uint8Array(1);

  /** @param scratch for addresses, between calls */
  constructor(scratch: SocketAddress) {
    this.#local = scratch;
  }

  /** @returns a non-blocking socket, or the negated errno */
  connect(address: SocketAddress, guestPort: number): number {
    const { family } = address;
    const fd = createUdp(family);
    if (fd < 0) return fd;
    const key = `${family} ${guestPort}`;
    const known = this.#ports.get(key);
    const isBound = known !== undefined && this.#bind(fd, family, known);
    if (libc.connect(fd, address.bytes, address.length) < 0) return closed(fd);
    if (isBound) this.#discard(fd);
    else this.#remember(fd, key);
    return fd;
  }

  #bind(fd: number, family: number, port: number): boolean {
    sharePort(fd, true);
    this.#local.any(family, port);
    // Another program has the port by now: the kernel chooses one.
    return libc.bind(fd, this.#local.bytes, this.#local.length) === 0;
  }

  /** The socket had a port before it was connected: another host may have sent something there. */
  #discard(fd: number): void {
    for (let count = 0; count < MAX_STRAGGLERS; count++) {
      if (libc.read(fd, this.#byte, 1) < 0) break;
    }
  }

  #remember(fd: number, key: string): void {
    const local = this.#local.clear();
    if (libc.getsockname(fd, local.bytes, local.size) < 0) return;
    // From now on: a port that the kernel chooses is one that no other socket has.
    sharePort(fd, true);
    this.#ports.delete(key);
    this.#ports.set(key, local.port);
    if (this.#ports.size <= MAX_PORTS) return;
    for (const oldest of this.#ports.keys()) {
      this.#ports.delete(oldest);
      break;
    }
  }
}
