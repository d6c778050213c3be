// A published port of UDP, in the hands of the machine's owner. The machine waits for datagrams in the
// port's socket, and the owner receives them: only the host's kernel says truly whose they are. Each
// new client gets a socket that is connected with it, at the address that the client sent to. So the
// machine process answers clients alone, and sees what else they send without its owner.
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import * as libc from '../host/libc.js';
import type { Arrival } from '../machine.js';
import { createUdp, sharePort } from './connected-socket.js';
import { SocketAddress } from './socket-address.js';

/** Datagrams of one call, and bytes after which it receives no more. */
const MAX_ARRIVALS = 16;
const ENOUGH = 16 * 1024;
/** Clients that are remembered until the socket is empty. */
const MAX_CLIENTS = 4096;
const RECEIVE_BUFFER = 4 * 1024 * 1024;
/** Datagrams that came to a client's socket before it was connected, and wait for the next call. */
const MAX_LATE = 1000;

// Layout of the memory for system calls: `struct msghdr`, `struct iovec`, the client's address, control
// messages, the datagram.
const IOVEC = 64;
const NAME = 128;
const NAME_LENGTH = 28;
const CONTROL = 192;
const CONTROL_LENGTH = 128;
const DATA = 512;
const MAX_DATAGRAM = 65535;
const LENGTH = DATA + MAX_DATAGRAM;
// `struct msghdr` in bytes.
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
/** `struct cmsghdr`: u64 length, i32 level, i32 type. */
const CMSG_HEADER = 16;
/** `struct in_pktinfo`: interface, local address, ...; `struct in6_pktinfo`: address, interface. */
const IPV4_LOCAL = 4;
const IPV6_INTERFACE = 16;
/** `struct sockaddr_in` and `sockaddr_in6`: family, port, address; IPv6: port, flow, address, scope. */
const IPV4_ADDRESS = 4;
const IPV6_ADDRESS = 8;
const SCOPE = 24;

interface Datagram {
  client: SocketAddress;
  here: SocketAddress;
  payload: Buffer;
}

/** Arrivals, and the sockets of those that have one, which the caller closes. */
export interface Arrived {
  arrivals: Arrival[];
  sockets: number[];
  /** Of the payloads. */
  bytes: number;
  /** True if others wait that are in no socket. */
  hasMore: boolean;
}

export class DatagramPort implements Disposable {
  readonly #socket: OwnedDescriptor;
  readonly #port: number;
  readonly #memory: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Clients that got a socket since the port's socket was empty. */
  readonly #clients = new Set<string>();
  /** Datagrams that were received before there was room for them. */
  #late: Datagram[] = [];

  /** @param fd bound, which the port owns */
  constructor(fd: number) {
    this.#socket = new OwnedDescriptor(fd);
    const bound = new SocketAddress();
    libc.check(libc.getsockname(fd, bound.bytes, bound.size), 'getsockname');
    this.#port = bound.port;
    const isIPv4 = bound.family === libc.AF_INET;
    const [level, option] = isIPv4 ? [libc.IPPROTO_IP, libc.IP_PKTINFO] : [libc.IPPROTO_IPV6, libc.IPV6_RECVPKTINFO];
    libc.check(libc.setsockopt(fd, level, option, Int32Array.of(1), 4), 'setsockopt');
    // As much as the host allows: the owner reads it later than the machine would.
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, Int32Array.of(RECEIVE_BUFFER), 4);
    const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
    this.#memory = libc.check(libc.mmap(null, LENGTH, libc.PROT_READ | libc.PROT_WRITE, flags, -1, 0), 'mmap');
    const buffer = libc.viewMemory(this.#memory, LENGTH);
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.#setAddress(MSG_NAME, this.#memory + NAME);
    this.#setAddress(MSG_IOV, this.#memory + IOVEC);
    this.#setAddress(MSG_IOVLEN, 1);
    this.#setAddress(MSG_CONTROL, this.#memory + CONTROL);
    this.#setAddress(IOVEC, this.#memory + DATA);
    this.#setAddress(IOVEC + 8, MAX_DATAGRAM);
  }

  #setAddress(at: number, value: number): void {
    this.#view.setUint32(at, value % 2 ** 32, true);
    this.#view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
  }

  /** Takes the first datagrams that wait. */
  receive(): Arrived {
    const arrived: Arrived = { arrivals: [], sockets: [], bytes: 0, hasMore: false };
    while (hasRoom(arrived)) {
      const datagram = this.#late.shift() ?? this.#receiveFrom(this.#socket.fd);
      if (datagram === undefined) {
        this.#clients.clear();
        break;
      }
      this.#arrive(datagram, arrived);
    }
    arrived.hasMore = this.#late.length > 0;
    return arrived;
  }

  #arrive({ client, here, payload }: Datagram, arrived: Arrived): void {
    const key = `${keyOf(client)} ${keyOf(here)}`;
    const isKnown = this.#clients.has(key);
    const fd = isKnown ? -1 : this.#connect(client, here);
    // Without descriptors the datagram is lost, as on any network.
    if (!isKnown && fd < 0) return;
    arrived.bytes += payload.length;
    arrived.arrivals.push({
      client: [...client.words],
      clientPort: client.port,
      here: [...here.words],
      payload: payload.toString('base64'),
      hasSocket: !isKnown,
    });
    if (isKnown) return;
    arrived.sockets.push(fd);
    if (this.#clients.size >= MAX_CLIENTS) this.#clients.clear();
    this.#clients.add(key);
    this.#takeStragglers(fd, here);
  }

  /** What came to a client's socket before it was connected may be another client's. */
  #takeStragglers(fd: number, here: SocketAddress): void {
    let datagram = this.#receiveFrom(fd, here);
    while (datagram !== undefined) {
      if (this.#late.length < MAX_LATE) this.#late.push(datagram);
      datagram = this.#receiveFrom(fd, here);
    }
  }

  /** @returns a socket at `here` that is connected with the client, or the negated errno */
  #connect(client: SocketAddress, here: SocketAddress): number {
    const fd = createUdp(client.family);
    if (fd < 0) return fd;
    // The next client's socket has the port beside this one, and beside the port's own for a moment.
    sharePort(fd, true);
    sharePort(this.#socket.fd, true);
    const isConnected =
      libc.bind(fd, here.bytes, here.length) === 0 && libc.connect(fd, client.bytes, client.length) === 0;
    sharePort(this.#socket.fd, false);
    if (isConnected) return fd;
    libc.close(fd);
    return -1;
  }

  #receiveFrom(fd: number, here?: SocketAddress): Datagram | undefined {
    this.#view.setUint32(MSG_NAMELEN, NAME_LENGTH, true);
    this.#setAddress(MSG_CONTROLLEN, CONTROL_LENGTH);
    const length = libc.recvmsg(fd, this.#memory, libc.MSG_DONTWAIT);
    if (length < 0) return undefined;
    const client = new SocketAddress();
    client.bytes.set(this.#bytes.subarray(NAME, NAME + NAME_LENGTH));
    client.read();
    const payload = Buffer.from(this.#bytes.subarray(DATA, DATA + length));
    return { client, here: here ?? this.#here(client.family), payload };
  }

  /** The address of the host that the datagram came to, from the control message. */
  #here(family: number): SocketAddress {
    const here = new SocketAddress().any(family, this.#port);
    const info = CONTROL + CMSG_HEADER;
    if (family === libc.AF_INET) {
      here.bytes.set(this.#bytes.subarray(info + IPV4_LOCAL, info + 2 * IPV4_LOCAL), IPV4_ADDRESS);
    } else {
      here.bytes.set(this.#bytes.subarray(info, info + IPV6_INTERFACE), IPV6_ADDRESS);
      here.bytes.set(this.#bytes.subarray(info + IPV6_INTERFACE, info + IPV6_INTERFACE + 4), SCOPE);
    }
    return here.read();
  }

  [Symbol.dispose](): void {
    if (this.#socket.fd < 0) return;
    this.#socket[Symbol.dispose]();
    libc.munmap(this.#memory, LENGTH);
  }
}

function hasRoom({ arrivals, bytes }: Arrived): boolean {
  return arrivals.length < MAX_ARRIVALS && bytes < ENOUGH;
}

function keyOf({ words, port }: SocketAddress): string {
  return `${words.join()} ${port}`;
}
