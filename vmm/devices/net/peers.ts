// The private networks of a guest. Its peers are the network devices of other machines, connected
// directly, without a switch. A link is a SOCK_SEQPACKET connection between two members. The owner of
// each new member makes its links with those that are there (outside/network-folder.ts), and its first
// message on each says which member it is. All others are virtio's header and a frame.
//
// The guest sends all its frames to its gateway, so peers need no neighbour discovery and may come
// and go while the guest runs. The sending device routes a packet by its IP address, and the
// receiving device fills in the hardware addresses that its guest knows.
import { type Address, type AddressRange, isInAnyRange, parseAddress, parseRange } from '../../../addresses/ip.js';
import { messageOf } from '../../../errors/index.js';
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { MachineError, type PeerNetwork } from '../../machine.js';
import { allocateIovecs, setIovec } from '../../virtio/buffers.js';
import { type CheckedFrame, HEADROOM } from './back-end.js';
import { NET_HEADER } from './header.js';

const SOCKET_BUFFER = 4 * 1024 * 1024;
const MAX_IOVECS = 257;
const MAX_MESSAGE = NET_HEADER + 65535 + 14;
/** Messages of a link in one turn of the event loop. */
const BATCH = 64;
/**
 * Bytes of frames that wait for a peer without room, and for all such peers together. Further frames
 * for such a peer are lost, as on any network, and no other frame waits for it.
 */
const MAX_WAITING = 1024 * 1024;
const MAX_ALL_WAITING = 8 * 1024 * 1024;

/** A connection with a peer. */
export interface Link {
  readonly fd: number;
  readonly folder: string;
  /** The peer's IPv4 address; 0 until its first message. */
  address: number;
  /** Messages that wait until the peer has room, and their bytes. */
  readonly waiting: Buffer[];
  waitingBytes: number;
}

/** What a device needs to be a member of a network. It owns the sockets. */
export interface MemberSockets {
  /** Listens for members that come later. */
  listener: number;
  /** Connections with the other members, by address. */
  links: Map<string, number>;
  /** Names of all members, in lower case, and the addresses that they stand for. */
  names: [name: string, address: string][];
}

/** Where the sockets of private networks come from. The owner of the machine makes them. */
export interface NetworkSockets {
  /** @throws Error */
  enter(network: PeerNetwork, address: string): MemberSockets;
  leave(network: PeerNetwork, address: string): void;
}

export interface PeersOptions {
  loop: EventLoop;
  networks: NetworkSockets;
  /** The guest's IPv4 address. */
  address: string;
  /**
   * Ranges of the members' addresses. The last word of each address is the member's IPv4 address.
   */
  ranges: readonly string[];
  /**
   * Takes a peer's message: header and frame. Returns false if there is no room, until
   * {@link Peers.resume}.
   */
  onMessage(link: Link, bytes: Uint8Array, length: number): boolean;
  /** All available messages were received. */
  onFlush(): void;
}

interface Member {
  network: PeerNetwork;
  listener: number;
  /** Addresses of live members, and of the guest, by their names. */
  names: Map<string, number>;
}

export class Peers implements Disposable {
  readonly #options: PeersOptions;
  readonly #own: number;
  readonly #ranges: readonly AddressRange[];
  /** By folder. */
  readonly #members = new Map<string, Member>();
  readonly #links = new Map<number, Link>();
  /** The latest link by peer address. */
  readonly #byAddress = new Map<number, Link>();
  readonly #buffer = new Uint8Array(MAX_MESSAGE);
  readonly #iovecs = allocateIovecs(MAX_IOVECS);
  /** The message in the buffer while the guest has no room for it. */
  #kept: { link: Link; length: number } | undefined;
  /** Bytes that wait for peers, of all links. */
  #waitingBytes = 0;

  /** @throws RangeError for an address or a range that is not valid */
  constructor(options: PeersOptions) {
    this.#options = options;
    this.#own = parseAddress(options.address)[3]!;
    this.#ranges = options.ranges.map(parseRange);
  }

  /**
   * Joins a network.
   * @throws MachineError `no-network` if another member has the address, or the folder is unusable
   */
  join(network: PeerNetwork): void {
    const { folder } = network;
    if (this.#members.has(folder)) return;
    try {
      const { listener, links, names } = this.#options.networks.enter(network, this.#options.address);
      const member: Member = { network, listener, names: new Map() };
      this.#members.set(folder, member);
      this.#options.loop.add(listener, libc.EPOLLIN, () => this.#accept(folder, listener));
      const live = new Set([this.#own]);
      for (const [text, fd] of links) {
        const address = parseAddress(text)[3]!;
        live.add(address);
        this.#addLink({ fd, folder, address, waiting: [], waitingBytes: 0 });
      }
      for (const [name, text] of names) {
        const address = parseAddress(text)[3]!;
        if (live.has(address)) member.names.set(name, address);
      }
    } catch (cause) {
      throw new MachineError('no-network', `cannot join network ${network.name}: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  /** Leaves a network and closes its links. */
  leave(folder: string): void {
    const member = this.#members.get(folder);
    if (member === undefined) return;
    this.#members.delete(folder);
    this.#options.loop.remove(member.listener);
    libc.close(member.listener);
    for (const link of [...this.#links.values()]) if (link.folder === folder) this.#close(link);
    this.#options.networks.leave(member.network, this.#options.address);
  }

  /**
   * Returns the link to the peer with this address; undefined if there is no such peer.
   */
  find(destination: Uint32Array): Link | undefined {
    if (this.#members.size === 0) return undefined;
    const word = destination[3]!;
    if (word === this.#own || !isInAnyRange(this.#ranges, destination)) return undefined;
    return this.#byAddress.get(word);
  }

  /**
   * Returns the address of a live member by its name, `web` or `web.network`; undefined if there is
   * none.
   */
  resolve(name: string): Uint32Array | undefined {
    for (const { network, names } of this.#members.values()) {
      const suffix = `.${network.name.toLowerCase()}`;
      const address = names.get(name) ?? (name.endsWith(suffix) ? names.get(name.slice(0, -suffix.length)) : undefined);
      if (address !== undefined) return Uint32Array.of(0, 0, 0xffff, address);
    }
    return undefined;
  }

  /**
   * Accepts the members that have come, and reads who each is. A machine that was busy or paused
   * may have a question of its guest for one of them in the same turn.
   */
  #accept(folder: string, listener: number): void {
    for (let budget = BATCH; budget > 0; budget--) {
      const fd = libc.accept4(listener, null, null, libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK);
      if (fd < 0) return;
      const link = this.#addLink({ fd, folder, address: 0, waiting: [], waitingBytes: 0 });
      if (this.#kept === undefined) this.#read(link);
    }
  }

  #addLink(link: Link): Link {
    setSendBuffer(link.fd);
    this.#links.set(link.fd, link);
    if (link.address !== 0) this.#byAddress.set(link.address, link);
    this.#options.loop.add(link.fd, libc.EPOLLIN, (events) => this.#onEvents(link, events));
    this.#watch(link);
    return link;
  }

  #close(link: Link): void {
    this.#links.delete(link.fd);
    this.#options.loop.remove(link.fd);
    // The owner that made the connection has the socket too.
    libc.shutdown(link.fd, libc.SHUT_RDWR);
    libc.close(link.fd);
    if (this.#kept?.link === link) this.#kept = undefined;
    this.#count(link, -link.waitingBytes);
    link.waiting.length = 0;
    this.#forget(link);
  }

  /** The peer may have another link, of another network or a newer one. */
  #forget({ folder, address }: Link): void {
    if (address === 0) return;
    const others = [...this.#links.values()].filter((other) => other.address === address);
    const last = others.at(-1);
    if (last === undefined) this.#byAddress.delete(address);
    else this.#byAddress.set(address, last);
    const names = this.#members.get(folder)?.names;
    if (names === undefined || others.some((other) => other.folder === folder)) return;
    for (const [name, owner] of names) if (owner === address) names.delete(name);
  }

  #watch(link: Link): void {
    const events = (this.#kept === undefined ? libc.EPOLLIN : 0) | (link.waiting.length > 0 ? libc.EPOLLOUT : 0);
    this.#options.loop.modify(link.fd, events);
  }

  #onEvents(link: Link, events: number): void {
    if ((events & libc.EPOLLOUT) !== 0 && !this.#sendWaiting(link)) return;
    if ((events & (libc.EPOLLIN | libc.EPOLLHUP | libc.EPOLLERR)) !== 0 && this.#kept === undefined) this.#read(link);
  }

  #read(link: Link): void {
    for (let budget = BATCH; budget > 0 && this.#kept === undefined; budget--) {
      const count = libc.read(link.fd, this.#buffer, MAX_MESSAGE);
      if (count < 0 && libc.errno() === libc.EAGAIN) break;
      if (count <= 0 || !this.#take(link, count)) {
        this.#close(link);
        break;
      }
    }
    this.#options.onFlush();
  }

  /** Handles a message. Returns false if the peer broke the protocol. */
  #take(link: Link, length: number): boolean {
    if (link.address === 0) return this.#greeted(link, length);
    if (length < NET_HEADER) return false;
    if (!this.#options.onMessage(link, this.#buffer, length)) {
      this.#kept = { link, length };
      for (const each of this.#links.values()) this.#watch(each);
    }
    return true;
  }

  /** Handles the first message (outside/network-folder.ts). Returns false for anything else. */
  #greeted(link: Link, length: number): boolean {
    const [text = '', ...names] = Buffer.from(this.#buffer.subarray(0, length)).toString().split('\n');
    const address = memberAddress(text);
    if (address === undefined || !isInAnyRange(this.#ranges, address) || address[3] === this.#own) return false;
    link.address = address[3]!;
    this.#byAddress.set(link.address, link);
    for (const name of names) this.#members.get(link.folder)?.names.set(name, link.address);
    return true;
  }

  /** The guest has room again. */
  resume(): void {
    const kept = this.#kept;
    if (kept === undefined || !this.#options.onMessage(kept.link, this.#buffer, kept.length)) return;
    this.#kept = undefined;
    for (const link of this.#links.values()) this.#watch(link);
    this.#options.onFlush();
  }

  /** Sends a frame, after those that wait for the same peer. */
  send(link: Link, { header, memory, bytes, copied, rest, offset, length }: CheckedFrame): void {
    const start = HEADROOM - NET_HEADER;
    bytes.set(header.bytes, start);
    if (link.waiting.length === 0) {
      setIovec(this.#iovecs, memory + start, NET_HEADER + copied);
      const count = 1 + rest.iovecs(offset, length - copied, this.#iovecs, 1);
      if (libc.writev(link.fd, this.#iovecs, count) >= 0) return;
      if (libc.errno() !== libc.EAGAIN) {
        this.#close(link);
        return;
      }
    }
    const total = NET_HEADER + length;
    if (link.waitingBytes + total > MAX_WAITING || this.#waitingBytes + total > MAX_ALL_WAITING) return;
    const message = Buffer.alloc(total);
    message.set(bytes.subarray(start, HEADROOM + copied));
    rest.read(offset, message.subarray(NET_HEADER + copied));
    link.waiting.push(message);
    this.#count(link, total);
    if (link.waiting.length === 1) this.#watch(link);
  }

  #count(link: Link, bytes: number): void {
    link.waitingBytes += bytes;
    this.#waitingBytes += bytes;
  }

  /** Sends what waits for a peer, as far as it has room. Returns false if the link is closed. */
  #sendWaiting(link: Link): boolean {
    let sent = 0;
    for (const message of link.waiting) {
      if (libc.write(link.fd, message, message.length) < 0) {
        if (libc.errno() === libc.EAGAIN) break;
        this.#close(link);
        return false;
      }
      this.#count(link, -message.length);
      sent++;
    }
    link.waiting.splice(0, sent);
    this.#watch(link);
    return true;
  }

  [Symbol.dispose](): void {
    for (const folder of [...this.#members.keys()]) this.leave(folder);
  }
}

function setSendBuffer(fd: number): void {
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDBUF, Int32Array.of(SOCKET_BUFFER), 4);
}

function memberAddress(text: string): Address | undefined {
  try {
    return parseAddress(text);
  } catch {
    return undefined;
  }
}
