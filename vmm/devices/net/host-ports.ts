// Ports of the host that are to lead to the guest: checked, and chosen where any will do. passt binds them itself, a moment
// later; until then a socket holds each, bound and not listening. passt's sockets may be bound beside it, as both have
// SO_REUSEADDR (socket(7)), while nobody else's port 0 becomes one of them. So no port is given to two who choose at once.
import * as libc from '../../host/libc.js';
import { MachineError, type PublishedPorts } from '../../machine.js';
import { isIPv4Address, parseAddress } from './address.js';

/** Ports that are free at one address and not at another, before none is found that is free at all. */
const MAX_ATTEMPTS = 100;
/** `struct sockaddr_in` and `struct sockaddr_in6`: family, port (big-endian), ... */
const IPV4_LENGTH = 16;
const IPV6_LENGTH = 28;

type Protocol = PublishedPorts['protocol'];

export class HostPorts implements Disposable {
  /** The ports as asked for, none of them 0. */
  readonly chosen: PublishedPorts[];
  /** The same, each with its address. */
  readonly bound: PublishedPorts[];
  readonly #everywhere: readonly string[];
  readonly #sockets: number[] = [];
  /** passt leads a port to one place, whatever the address: `tcp 8080`. */
  readonly #taken = new Set<string>();

  /**
   * Holds the ports.
   * @param everywhere addresses that stand for all of the host's: `0.0.0.0`, `::`
   * @throws MachineError `no-network` for a port that is in use, or not the user's to take
   */
  constructor(ports: readonly PublishedPorts[], everywhere: readonly string[]) {
    this.#everywhere = everywhere;
    try {
      // Those that are to be found among the free are not to be among those that are named.
      const named = ports.filter(({ host }) => host !== 0).flatMap((each) => this.#take(each));
      this.chosen = [...named, ...ports.filter(({ host }) => host === 0).flatMap((each) => this.#find(each))];
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.bound = this.chosen.flatMap((each) => this.#addresses(each).map((address) => ({ ...each, address })));
  }

  #addresses({ protocol, address, host }: PublishedPorts): readonly string[] {
    if (address === undefined) return this.#everywhere;
    if (isIPv4Address(parseAddress(address)) || this.#everywhere.includes('::')) return [address];
    throw unavailable(protocol, address, host, libc.EAFNOSUPPORT);
  }

  #take({ last, ...ports }: PublishedPorts): PublishedPorts {
    const { host, count } = ports;
    if (last === undefined) {
      for (let port = host; port < host + count; port++) this.#hold(ports, port);
      return ports;
    }
    for (let port = host; ; port++) {
      try {
        return { ...ports, host: this.#hold(ports, port) };
      } catch (error) {
        if (port === last || !isInUse(error)) throw error;
      }
    }
  }

  /** Ports that are free, one by one. */
  #find(ports: PublishedPorts): PublishedPorts[] {
    return Array.from({ length: ports.count }, (_, index) => {
      for (let attempt = 1; ; attempt++) {
        try {
          return { ...ports, host: this.#hold(ports, 0), guest: ports.guest + index, count: 1 };
        } catch (error) {
          if (attempt === MAX_ATTEMPTS || !isInUse(error)) throw error;
        }
      }
    });
  }

  /**
   * Holds a port at all addresses that it is published at.
   * @param asked 0: one that is free
   * @returns the port
   * @throws MachineError `no-network`
   */
  #hold(ports: PublishedPorts, asked: number): number {
    const { protocol } = ports;
    const sockets: number[] = [];
    let port = asked;
    try {
      for (const address of this.#addresses(ports)) {
        const socket = bindSocket(protocol, address, port);
        sockets.push(socket);
        port ||= portOf(socket);
        if (this.#taken.has(`${protocol} ${port}`)) throw unavailable(protocol, address, port, libc.EADDRINUSE);
      }
    } catch (error) {
      for (const socket of sockets) libc.close(socket);
      throw error;
    }
    this.#sockets.push(...sockets);
    this.#taken.add(`${protocol} ${port}`);
    return port;
  }

  /** Lets go of them: passt has them, or is not to have them. */
  [Symbol.dispose](): void {
    for (const socket of this.#sockets.splice(0)) libc.close(socket);
  }
}

/** A socket that is bound, and may be bound beside from now on. @throws MachineError `no-network` */
function bindSocket(protocol: Protocol, text: string, port: number): number {
  const address = socketAddress(text, port);
  const family = address.readUInt16LE(0);
  const type = (protocol === 'tcp' ? libc.SOCK_STREAM : libc.SOCK_DGRAM) | libc.SOCK_CLOEXEC;
  const fd = libc.socket(family, type, 0);
  if (fd < 0) throw unavailable(protocol, text, port, libc.errno());
  const one = Int32Array.of(1);
  if (family === libc.AF_INET6) libc.setsockopt(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, one, 4);
  // A connection that ended a minute ago is no obstacle; another's datagram socket is, even if it shares its port.
  if (protocol === 'tcp') libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, one, 4);
  if (libc.bind(fd, address, address.length) < 0) {
    const errno = libc.errno();
    libc.close(fd);
    throw unavailable(protocol, text, port, errno);
  }
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, one, 4);
  return fd;
}

function socketAddress(text: string, port: number): Buffer {
  const words = parseAddress(text);
  const isIPv4 = isIPv4Address(words);
  const address = Buffer.alloc(isIPv4 ? IPV4_LENGTH : IPV6_LENGTH);
  address.writeUInt16LE(isIPv4 ? libc.AF_INET : libc.AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  if (isIPv4) address.writeUInt32BE(words[3]!, 4);
  // Behind the port is the flow's label.
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
