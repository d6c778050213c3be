// Everything that goes to the guest through the rx queue: resets, then packets that connections
// owe, then bytes read from sockets directly into the guest's buffers. When buffers run out,
// everything waits in order and no socket is polled. A kick of the rx queue continues.
import * as libc from '../../host/libc.js';
import { allocateIovecs } from '../../virtio/buffers.js';
import type { DeviceContext } from '../../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../../virtio/queue.js';
import { type Connection, OWES_CREDIT_REQUEST, OWES_CREDIT_UPDATE, OWES_REQUEST, OWES_RESPONSE } from './connection.js';
import {
  HEADER_SIZE,
  HOST_CID,
  PacketHeader,
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_TYPE_STREAM,
} from './packet.js';

/** Rx buffers filled by one read of a socket. */
const MAX_BATCH = 32;
/** Reads of waiting sockets in one turn of the event loop. */
const MAX_READS = 64;
/** IOV_MAX of Linux. */
const MAX_IOVECS = 1024;
/**
 * The most resets that wait for rx buffers. {@link RxQueue.congested} stops the guest's packets
 * well before.
 */
const MAX_RESETS = 1024;

/** A RST: its source and its destination port in the guest. */
interface Reset {
  sourceCid: number;
  sourcePort: number;
  destinationPort: number;
  type: number;
}

export class RxQueue {
  readonly #context: DeviceContext;
  readonly #queue: Virtqueue | undefined;
  readonly #index: number;
  readonly #guestCid: number;
  readonly #chains: DescriptorChain[];
  readonly #iovecs = allocateIovecs(MAX_IOVECS);
  readonly #header = new PacketHeader();
  #resets: Reset[] = [];
  /**
   * Connections that owe packets, and connections whose socket waits for buffers. Both in order of
   * arrival.
   */
  readonly #owing: Connection[] = [];
  readonly #waiting: Connection[] = [];
  #deferred = false;
  readonly #goOn = () => {
    this.#deferred = false;
    this.pump();
  };

  constructor(context: DeviceContext, index: number, chainCapacity: number, guestCid: number) {
    this.#context = context;
    this.#index = index;
    this.#queue = context.queues[index];
    this.#guestCid = guestCid;
    this.#chains = Array.from({ length: MAX_BATCH }, () => new DescriptorChain(context.memory, chainCapacity));
    // A kick is useful only while something waits for buffers.
    this.#queue?.disableKicks();
  }

  /**
   * True while so many resets wait that no more packets, each of which may cause one, should be
   * taken.
   */
  get congested(): boolean {
    return this.#resets.length > MAX_RESETS / 2;
  }

  /** Replies with a RST to a packet without a connection, unless it is a RST itself. */
  refuse(packet: PacketHeader): void {
    if (packet.operation === VIRTIO_VSOCK_OP_RST || this.#resets.length >= MAX_RESETS) return;
    this.#resets.push({
      sourceCid: packet.destinationCid,
      sourcePort: packet.destinationPort,
      destinationPort: packet.sourcePort,
      type: packet.type,
    });
  }

  /** Sends the RST that ends a connection. */
  reset({ hostPort, guestPort }: Pick<Connection, 'hostPort' | 'guestPort'>): void {
    this.#resets.push({
      sourceCid: HOST_CID,
      sourcePort: hostPort,
      destinationPort: guestPort,
      type: VIRTIO_VSOCK_TYPE_STREAM,
    });
  }

  /** Sends what `connection` owes with the next {@link pump}. */
  settle(connection: Connection): void {
    if (connection.owes === 0 || connection.listed || connection.forgotten) return;
    connection.listed = true;
    this.#owing.push(connection);
  }

  /** Reads the socket of `connection`, which has bytes, with this or a later {@link pump}. */
  read(connection: Connection): void {
    // Connections that already wait for buffers come first.
    if (this.#waiting.length > 0 || !this.#sendPackets() || !this.#readSocket(connection)) this.wait(connection);
    this.settle(connection);
  }

  /**
   * Reads the socket of `connection`, which may have bytes, after the connections that already
   * wait.
   */
  wait(connection: Connection): void {
    connection.waitFor('buffers');
    this.#waiting.push(connection);
  }

  /** Sends as much as there are buffers for, and notifies the driver. */
  pump(): void {
    let reads = 0;
    while (this.#sendPackets() && this.#waiting.length > 0) {
      if (reads++ === MAX_READS) {
        this.#goOnLater();
        break;
      }
      const connection = this.#waiting[0]!;
      if (connection.reading === 'buffers') {
        if (!this.#readSocket(connection)) break;
        this.settle(connection);
      }
      this.#waiting.shift();
      if (connection.reading === 'buffers') this.#waiting.push(connection);
    }
    this.#context.notify(this.#index);
  }

  #goOnLater(): void {
    if (this.#deferred) return;
    this.#deferred = true;
    this.#context.loop.defer(this.#goOn);
  }

  /** Takes a buffer. Returns false, and asks for a kick, if there is none. */
  #take(chain: DescriptorChain): boolean {
    const queue = this.#queue;
    if (queue === undefined) return false;
    if (!queue.pop(chain) && !(queue.enableKicks() && queue.pop(chain))) return false;
    if (chain.writable.length > HEADER_SIZE) return true;
    this.#context.fail('an rx buffer has no room for a packet');
    return false;
  }

  /** Sends the packets without payload. Returns false if buffers ran out. */
  #sendPackets(): boolean {
    for (let reset = this.#resets[0]; reset !== undefined; reset = this.#resets[0]) {
      if (!this.#sendReset(reset)) return false;
      this.#resets.shift();
    }
    for (let connection = this.#owing[0]; connection !== undefined; connection = this.#owing[0]) {
      while (connection.owes !== 0 && !connection.forgotten) if (!this.#sendOwed(connection)) return false;
      connection.listed = false;
      this.#owing.shift();
    }
    return true;
  }

  #sendReset(reset: Reset): boolean {
    const chain = this.#chains[0]!;
    if (!this.#take(chain)) return false;
    const header = this.#header;
    header.sourceCid = reset.sourceCid;
    header.destinationCid = this.#guestCid;
    header.sourcePort = reset.sourcePort;
    header.destinationPort = reset.destinationPort;
    header.type = reset.type;
    header.operation = VIRTIO_VSOCK_OP_RST;
    header.length = 0;
    header.flags = 0;
    header.bufferAllocation = 0;
    header.forwardCount = 0;
    this.#push(chain, 0);
    return true;
  }

  #sendOwed(connection: Connection): boolean {
    const chain = this.#chains[0]!;
    if (!this.#take(chain)) return false;
    const bit = connection.owes & -connection.owes;
    connection.owes &= ~bit;
    let operation = VIRTIO_VSOCK_OP_SHUTDOWN;
    if (bit === OWES_REQUEST) operation = VIRTIO_VSOCK_OP_REQUEST;
    else if (bit === OWES_RESPONSE) operation = VIRTIO_VSOCK_OP_RESPONSE;
    else if (bit === OWES_CREDIT_UPDATE) operation = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    else if (bit === OWES_CREDIT_REQUEST) operation = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
    this.#address(connection, operation);
    this.#header.flags = operation === VIRTIO_VSOCK_OP_SHUTDOWN ? connection.hostShutdown : 0;
    this.#header.length = 0;
    this.#push(chain, 0);
    return true;
  }

  /** Fills in the header of a packet of `connection`, except length and flags. */
  #address(connection: Connection, operation: number): void {
    const header = this.#header;
    header.sourceCid = HOST_CID;
    header.destinationCid = this.#guestCid;
    header.sourcePort = connection.hostPort;
    header.destinationPort = connection.guestPort;
    header.type = VIRTIO_VSOCK_TYPE_STREAM;
    header.operation = operation;
    header.bufferAllocation = connection.allocation;
    header.forwardCount = connection.takeForwardCount();
  }

  #push(chain: DescriptorChain, payload: number): void {
    chain.writable.write(0, this.#header.bytes);
    this.#queue!.push(chain.head, HEADER_SIZE + payload);
  }

  /**
   * Reads the socket once, into as many buffers as credit and `batch` allow. Returns false if there
   * are no buffers.
   */
  #readSocket(connection: Connection): boolean {
    const credit = connection.peerCredit;
    if (credit === 0) {
      connection.waitFor('credit');
      connection.owes |= OWES_CREDIT_REQUEST;
      return true;
    }
    let chains = 0;
    let iovecs = 0;
    let room = 0;
    while (chains < connection.batch && room < credit) {
      // `batch` is at most MAX_BATCH, the number of chains.
      const chain = this.#chains[chains]!;
      if (!this.#take(chain)) break;
      if (iovecs + chain.writable.count > MAX_IOVECS) {
        this.#queue!.unpop(1);
        break;
      }
      const payload = Math.min(chain.writable.length - HEADER_SIZE, credit - room);
      iovecs += chain.writable.iovecs(HEADER_SIZE, payload, this.#iovecs, iovecs);
      room += payload;
      chains++;
    }
    if (chains === 0) return false;
    const count = connection.readInto(this.#iovecs, iovecs);
    const used = count > 0 ? this.#pushBytes(connection, count) : 0;
    this.#queue!.unpop(chains - used);
    connection.batch = count === room ? Math.min(chains * 2, MAX_BATCH) : Math.max(used, 1);
    if (count < room) this.#afterLastBytes(connection, count);
    return true;
  }

  /** Sends `count` bytes, which are in the first chains already. Returns the number of chains. */
  #pushBytes(connection: Connection, count: number): number {
    this.#address(connection, VIRTIO_VSOCK_OP_RW);
    this.#header.flags = 0;
    let left = count;
    let used = 0;
    while (left > 0) {
      const chain = this.#chains[used++]!;
      const payload = Math.min(chain.writable.length - HEADER_SIZE, left);
      this.#header.length = payload;
      this.#push(chain, payload);
      left -= payload;
    }
    connection.countSent(count);
    return used;
  }

  /** Handles a read that filled only part of its buffers. @param count the result of readv(2) */
  #afterLastBytes(connection: Connection, count: number): void {
    if (count > 0) connection.waitFor('socket');
    else if (count === 0) connection.endReading();
    else if (libc.errno() === libc.EAGAIN || libc.errno() === libc.EINTR) connection.waitFor('socket');
    else {
      connection.hangUp();
      connection.endReading();
    }
  }
}
