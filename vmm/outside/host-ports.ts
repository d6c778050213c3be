// The host's ports that are published for the guest: checked, chosen where any free port will do,
// and bound. The sockets of TCP listen at once: two may be bound to one port until one listens.

import { isIPv4Address, parseAddress } from '../../addresses/ip.js';
import * as libc from '../host/libc.js';
import {
  MachineError,
  type NetworkSpec,
  type PublishedPorts,
  type PublishedSocket,
  type RelaySpec,
} from '../machine.js';

/** Connections that may wait to be accepted; the host's limit is lower. */
const BACKLOG = 65535;
/** Attempts to find a port that is free at all addresses. */
const MAX_ATTEMPTS = 100;
/** `struct sockaddr_in` and `struct sockaddr_in6`: family, port (big-endian), ... */
const IPV4_LENGTH = 16;
const IPV6_LENGTH = 28;

type Protocol = PublishedPorts['protocol'];

/** A socket, which listens if it is one of TCP, and the guest's port that it is published for. */
export interface BoundSocket extends PublishedSocket {
  fd: number;
}

/** Binds the published ports. @throws MachineError `no-network` */
export function publishPorts(spec: NetworkSpec, { ports }: RelaySpec): HostPorts {
  return new HostPorts(ports, spec.gateways.length > 1 ? ['0.0.0.0', '::'] : ['0.0.0.0']);
}

export class HostPorts implements Disposable {
  /** The published ports, each with its address, with every port 0 replaced. */
  readonly bound: PublishedPorts[];
  readonly #everywhere: readonly string[];
  readonly #sockets: BoundSocket[] = [];

  /**
   * Binds the ports.
   * @param everywhere the wildcard addresses: `0.0.0.0`, `::`
   * @throws MachineError `no-network` for a port that is in use, or that the user may not bind
   */
  constructor(ports: readonly PublishedPorts[], everywhere: readonly string[]) {
    this.#everywhere = everywhere;
    try {
      // Named ports come first, so that a chosen port is never a named one.
      const named = ports.filter(({ host }) => host !== 0).flatMap((each) => this.#take(each));
      const chosen = [...named, ...ports.filter(({ host }) => host === 0).flatMap((each) => this.#find(each))];
      this.bound = chosen.flatMap((each) => this.#addresses(each).map((address) => ({ ...each, address })));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #addresses({ protocol, address, host }: PublishedPorts): readonly string[] {
    if (address === undefined) return this.#everywhere;
    if (isIPv4Address(parseAddress(address)) || this.#everywhere.includes('::')) return [address];
    throw unavailable(protocol, address, host, libc.EAFNOSUPPORT);
  }

  #take({ last, ...ports }: PublishedPorts): PublishedPorts {
    const { host, count } = ports;
    if (last === undefined) {
      for (let at = 0; at < count; at++) this.#hold(ports, host + at, ports.guest + at);
      return ports;
    }
    for (let port = host; ; port++) {
      try {
        return { ...ports, host: this.#hold(ports, port, ports.guest) };
      } catch (error) {
        if (port === last || !isInUse(error)) throw error;
      }
    }
  }

  /** Chooses a free port for each of the ports. */
  #find(ports: PublishedPorts): PublishedPorts[] {
    return Array.from({ length: ports.count }, (_, index) => {
      for (let attempt = 1; ; attempt++) {
        try {
          const guest = ports.guest + index;
          return { ...ports, host: this.#hold(ports, 0, guest), guest, count: 1 };
        } catch (error) {
          if (attempt === MAX_ATTEMPTS || !isInUse(error)) throw error;
        }
      }
    });
  }

  /**
   * Binds a port at all of its addresses.
   * @param asked 0: any free port
   * @returns the port
   * @throws MachineError `no-network`
   */
  #hold(ports: PublishedPorts, asked: number, guest: number): number {
    const { protocol } = ports;
    const sockets: number[] = [];
    let port = asked;
    try {
      for (const address of this.#addresses(ports)) {
        const socket = bindSocket(protocol, address, port);
        sockets.push(socket);
        port ||= portOf(socket);
      }
    } catch (error) {
      for (const socket of sockets) libc.close(socket);
      throw error;
    }
    this.#sockets.push(...sockets.map((fd) => ({ fd, protocol, guest })));
    return port;
  }

  /** Gives the sockets away. */
  take(): BoundSocket[] {
    return this.#sockets.splice(0);
  }

  /** Releases the ports whose sockets were not given away. */
  [Symbol.dispose](): void {
    for (const { fd } of this.#sockets.splice(0)) libc.close(fd);
  }
}

/**
 * Binds a socket. One of TCP listens.
 * @throws MachineError `no-network`
 */
function bindSocket(protocol: Protocol, text: string, port: number): number {
  const address = socketAddress(text, port);
  const family = address.readUInt16LE(0);
  const type = (protocol === 'tcp' ? libc.SOCK_STREAM : libc.SOCK_DGRAM) | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC;
  const fd = libc.socket(family, type, 0);
  if (fd < 0) throw unavailable(protocol, text, port, libc.errno());
  const one = Int32Array.of(1);
  if (family === libc.AF_INET6) libc.setsockopt(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, one, 4);
  // Connections in TIME_WAIT must not block the port. A datagram socket of another process must,
  // even with SO_REUSEADDR.
  if (protocol === 'tcp') libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, one, 4);
  if (libc.bind(fd, address, address.length) < 0 || (protocol === 'tcp' && libc.listen(fd, BACKLOG) < 0)) {
    const errno = libc.errno();
    libc.close(fd);
    throw unavailable(protocol, text, port, errno);
  }
  return fd;
}

function socketAddress(text: string, port: number): Buffer {
  const words = parseAddress(text);
  const isIPv4 = isIPv4Address(words);
  const address = Buffer.alloc(isIPv4 ? IPV4_LENGTH : IPV6_LENGTH);
  address.writeUInt16LE(isIPv4 ? libc.AF_INET : libc.AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  if (isIPv4) address.writeUInt32BE(words[3]!, 4);
  // The flow label follows the port.
  else for (let word = 0; word < 4; word++) address.writeUInt32BE(words[word]!, 8 + word * 4);
  return address;
}

function portOf(fd: number): number {
  const address = Buffer.alloc(IPV6_LENGTH);
  libc.check(libc.getsockname(fd, address, Int32Array.of(address.length)), 'getsockname');
  return address.readUInt16BE(2);
}

const REASONS: Record<string, string> = {
  EADDRINUSE: 'it is in use',
  EACCES: 'ports below 1024 are for root',
  EADDRNOTAVAIL: 'no such address',
  EAFNOSUPPORT: 'no route of the host leads out by IPv6',
};

function unavailable(protocol: Protocol, address: string, port: number, errno: number): MachineError {
  const cause = new libc.SystemError('bind', errno);
  const where = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  const why = REASONS[cause.code] ?? cause.message;
  return new MachineError('no-network', `cannot publish port ${where}/${protocol}: ${why}`, { cause });
}

function isInUse(error: unknown): boolean {
  return error instanceof Error && error.cause instanceof libc.SystemError && error.cause.errno === libc.EADDRINUSE;
}
