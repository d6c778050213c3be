// The socket device (virtio 1.2, 5.10 "Socket Device"): streams between the guest and unix sockets
// of the host. readv and writev move bytes directly between sockets and guest memory. Connections
// do not survive save and restore: the restored device sends TRANSPORT_RESET, on which the driver
// resets every connection it has (5.10.6.7). No packet moves until the driver has read the event: a
// connection that is made earlier would be reset with the others.

import { type HostFiles, OWN_FILES } from '../../host/files.js';
import * as libc from '../../host/libc.js';
import { MAX_VSOCK_CONNECTIONS } from '../../machine.js';
import { Rate } from '../../rate.js';
import { type NoState, noState } from '../../saved-state.js';
import { allocateIovecs, type BufferList } from '../../virtio/buffers.js';
import type { DeviceContext, VirtioDevice } from '../../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../../virtio/queue.js';
import { drain } from '../drain.js';
import { Hold } from '../hold.js';
import { BUFFER_ALLOCATION, Connection, OWES_CREDIT_UPDATE, SMALL_ALLOCATION } from './connection.js';
import { HostListener } from './host-sockets.js';
import {
  HEADER_SIZE,
  HOST_CID,
  PacketHeader,
  SHUTDOWN_BOTH,
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_TYPE_STREAM,
} from './packet.js';
import { RxQueue } from './rx.js';

const VIRTIO_ID_VSOCK = 19;
const VIRTIO_VSOCK_F_STREAM = 0;
const VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0;

// Queues (virtio 1.2, 5.10.2).
const RX = 0;
const TX = 1;
const EVENT = 2;
const QUEUE_SIZE = 128;

/**
 * With so many connections, further ones get less credit: together they hold at most 44 MiB in
 * memory.
 */
const ROOMY_CONNECTIONS = 64;
/**
 * From this host port on, a port is one process's: it is chosen at random, and lives as long as the
 * process. Any process in the guest knows the ports below, and could fill the device with them.
 */
export const FIRST_PRIVATE_PORT = 2 ** 20;
/** Connections that only the private ports and the host may use. */
export const PRIVATE_CONNECTIONS = 128;
/**
 * Packets that the guest may send in one second. Streams reach 6 GB/s with as many full ones. A
 * storm of empty ones takes less than half of the device thread.
 */
const PACKET_RATE = 100_000;
/** A connection costs as much as so many packets: a socket is made, and may be refused. */
const PACKETS_PER_CONNECTION = 20;

/** First host port of connections from the host: far above ports that services use. */
const FIRST_HOST_PORT = 2 ** 30;

/**
 * - none: the driver knows of no reset, or has read of it.
 * - due: the event waits for a buffer.
 * - sent: the driver has not returned the event's buffer. `spare` is the number of its other ones.
 */
type TransportReset = { name: 'none' } | { name: 'due' } | { name: 'sent'; spare: number };

/** A connection of the guest whose socket does not exist yet. */
interface Asked {
  hostPort: number;
  guestPort: number;
  bufferAllocation: number;
  forwardCount: number;
}

export interface VsockOptions {
  /** Context identifier of the guest: above 2. */
  guestCid: number;
  /** Host side: see vsock/host-sockets.ts. */
  path: string;
}

export class VirtioVsock implements VirtioDevice<NoState> {
  readonly type = VIRTIO_ID_VSOCK;
  readonly name = 'vsock';
  readonly features = [VIRTIO_VSOCK_F_STREAM];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly checkState = noState;
  readonly config = new Uint8Array(8);
  readonly #guestCid: number;
  readonly #path: string;
  readonly #files: HostFiles;
  readonly #listener: HostListener;
  #context: DeviceContext | undefined;
  #rx: RxQueue | undefined;
  #chain: DescriptorChain | undefined;
  readonly #header = new PacketHeader();
  readonly #iovecs = allocateIovecs(QUEUE_SIZE);
  /** By guest port, then host port. */
  readonly #table = new Map<number, Map<number, Connection>>();
  /**
   * The connections of the table, and those that the guest reset while their bytes were on the way
   * to the host.
   */
  readonly #connections = new Set<Connection>();
  /** What the guest waits for, by guest port and host port. */
  readonly #asked = new Map<string, Asked>();
  /** Sockets that are asked for, also those that the guest no longer waits for. */
  #unanswered = 0;
  /** The number of connections to host ports below the private ones. */
  #toKnownPorts = 0;
  #nextHostPort = FIRST_HOST_PORT;
  #txPaused = false;
  #transportReset: TransportReset = { name: 'none' };
  readonly #rate = new Rate({ bytes: undefined, requests: PACKET_RATE }, performance.now());
  readonly #hold = new Hold();
  readonly #serveTx = (chain: DescriptorChain, queue: Virtqueue) => {
    const delay = this.#rate.delay(performance.now());
    if (delay > 0) return this.#hold.back(queue, delay);
    this.#rate.take(0, 1);
    if (this.#receivePacket(chain.readable)) queue.push(chain.head, 0);
    else this.#context?.fail('a tx packet has no header');
    return chain.readable.length;
  };
  readonly #again = () => this.kick(TX);
  readonly #onSocket = (connection: Connection, events: number) => this.#socketReady(connection, events);

  /**
   * Listens at `path` at once: who connects before the guest is up waits.
   * @throws MachineError `bad-spec` for a path that is too long, `host` if the socket cannot be
   * made.
   */
  constructor({ guestCid, path }: VsockOptions, files: HostFiles = OWN_FILES) {
    this.#guestCid = guestCid;
    this.#listener = new HostListener(path, files);
    this.#path = path;
    this.#files = files;
    new DataView(this.config.buffer).setUint32(0, guestCid, true);
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#rx = new RxQueue(context, RX, QUEUE_SIZE, this.#guestCid);
    this.#chain = new DescriptorChain(context.memory, QUEUE_SIZE);
    this.#hold.start(context.loop, this.#again);
    this.#listen();
  }

  #listen(): void {
    const { loop } = this.#context!;
    this.#listener.start(loop, (fd, port) => this.#connectToGuest(fd, port));
  }

  kick(index: number): void {
    if (this.#transportReset.name !== 'none') {
      if (index === EVENT) this.#advanceReset();
      return;
    }
    if (index === TX) this.#drainTx();
    this.#pump();
  }

  #drainTx(): void {
    if (this.#context === undefined || this.#chain === undefined) return;
    // The timer of the rate serves the queue again.
    if (this.#hold.isHeld) return;
    this.#txPaused = this.#rx?.congested === true;
    if (!this.#txPaused) drain(this.#context, TX, this.#chain, this.#serveTx, this.#again);
  }

  #pump(): void {
    this.#rx?.pump();
    if (!this.#txPaused || this.#rx?.congested !== false) return;
    this.#drainTx();
    this.#rx.pump();
  }

  /** Takes a packet from the guest. Returns false if it has no header. */
  #receivePacket(packet: BufferList): boolean {
    const header = this.#header;
    if (packet.read(0, header.bytes) !== HEADER_SIZE) return false;
    // A packet with another source CID is dropped: there is no peer to reply to.
    if (header.sourceCid !== this.#guestCid) return true;
    if (header.destinationCid !== HOST_CID || header.type !== VIRTIO_VSOCK_TYPE_STREAM) {
      this.#rx?.refuse(header);
      return true;
    }
    const connection = this.#table.get(header.sourcePort)?.get(header.destinationPort);
    const again = connection?.closed && header.operation === VIRTIO_VSOCK_OP_REQUEST;
    // A closed connection whose RST from the guest never came gives up its port.
    if (again) this.#drop(connection);
    if (connection === undefined || again) {
      if (!this.#receiveEarly(header)) this.#receiveFirst(header);
    } else {
      connection.updatePeer(header.bufferAllocation, header.forwardCount);
      if (!this.#receiveNext(connection, header, packet)) this.#abort(connection);
      if (connection.reading === 'credit' && connection.peerCredit > 0) this.#rx?.wait(connection);
      this.#rx?.settle(connection);
    }
    return true;
  }

  #receiveFirst(header: PacketHeader): void {
    if (header.operation === VIRTIO_VSOCK_OP_REQUEST) this.#rate.take(0, PACKETS_PER_CONNECTION);
    const isKnown = header.destinationPort < FIRST_PRIVATE_PORT;
    const used = this.#unanswered + (isKnown ? this.#toKnownPorts + PRIVATE_CONNECTIONS : this.#connections.size);
    const isFull = this.#isFull || used >= MAX_VSOCK_CONNECTIONS;
    if (header.operation === VIRTIO_VSOCK_OP_REQUEST && !isFull) this.#ask(header);
    else this.#rx?.refuse(header);
  }

  get #isFull(): boolean {
    return this.#connections.size + this.#unanswered >= MAX_VSOCK_CONNECTIONS;
  }

  #ask({ sourcePort, destinationPort, bufferAllocation, forwardCount }: PacketHeader): void {
    const asked = { hostPort: destinationPort, guestPort: sourcePort, bufferAllocation, forwardCount };
    this.#asked.set(keyOf(sourcePort, destinationPort), asked);
    this.#unanswered++;
    let isLater = false;
    this.#files.connect(this.#path, destinationPort, (fd) => {
      this.#answered(asked, fd);
      if (isLater) this.#pump();
    });
    isLater = true;
  }

  #answered(asked: Asked, fd: number): void {
    this.#unanswered--;
    const { hostPort, guestPort, bufferAllocation, forwardCount } = asked;
    const key = keyOf(guestPort, hostPort);
    if (this.#asked.get(key) !== asked) {
      if (fd >= 0) libc.close(fd);
      return;
    }
    this.#asked.delete(key);
    if (fd < 0) {
      this.#rx?.reset(asked);
      return;
    }
    const connection = this.#add(fd, hostPort, guestPort, false);
    connection.updatePeer(bufferAllocation, forwardCount);
    this.#rx?.settle(connection);
  }

  /**
   * Takes a packet of a connection whose socket does not exist yet: the guest has given it up, or breaks
   * the protocol. Returns false if there is no such connection.
   */
  #receiveEarly(header: PacketHeader): boolean {
    if (this.#asked.size === 0 || !this.#asked.delete(keyOf(header.sourcePort, header.destinationPort))) return false;
    this.#rx?.refuse(header);
    return true;
  }

  /**
   * Handles a packet of a connection. Returns false if it breaks the protocol, which ends the
   * connection.
   */
  #receiveNext(connection: Connection, header: PacketHeader, packet: BufferList): boolean {
    const { length } = header;
    switch (header.operation) {
      case VIRTIO_VSOCK_OP_RW:
        return length <= packet.length - HEADER_SIZE && connection.receive(packet, HEADER_SIZE, length, this.#iovecs);
      case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        return true;
      case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        connection.owes |= OWES_CREDIT_UPDATE;
        return true;
      case VIRTIO_VSOCK_OP_RESPONSE:
        return connection.establish();
      case VIRTIO_VSOCK_OP_SHUTDOWN:
        if (!connection.established) return false;
        connection.shutdownByGuest(header.flags);
        if (connection.finished) this.#abort(connection);
        return true;
      case VIRTIO_VSOCK_OP_RST:
        this.#forget(connection);
        // What the guest sent before still reaches the host.
        connection.shutdownByGuest(SHUTDOWN_BOTH);
        if (connection.finished) this.#drop(connection);
        return true;
      default:
        return false;
    }
  }

  /** Requests a connection to the guest for a host socket, from an unused host port. */
  #connectToGuest(fd: number, guestPort: number): void {
    if (this.#isFull) {
      libc.close(fd);
      return;
    }
    const taken = this.#table.get(guestPort);
    do {
      this.#nextHostPort = this.#nextHostPort >= 2 ** 32 - 2 ? FIRST_HOST_PORT : this.#nextHostPort + 1;
    } while (taken?.has(this.#nextHostPort) || this.#asked.has(keyOf(guestPort, this.#nextHostPort)));
    const connection = this.#add(fd, this.#nextHostPort, guestPort, true);
    this.#rx?.settle(connection);
    this.#pump();
  }

  #add(fd: number, hostPort: number, guestPort: number, initiatedByHost: boolean): Connection {
    const { loop } = this.#context!;
    const allocation = this.#connections.size < ROOMY_CONNECTIONS ? BUFFER_ALLOCATION : SMALL_ALLOCATION;
    const connection = new Connection(fd, hostPort, guestPort, loop, this.#onSocket, initiatedByHost, allocation);
    const ofPort = this.#table.get(guestPort);
    if (ofPort === undefined) this.#table.set(guestPort, new Map([[hostPort, connection]]));
    else ofPort.set(hostPort, connection);
    this.#connections.add(connection);
    if (hostPort < FIRST_PRIVATE_PORT) this.#toKnownPorts++;
    connection.poll();
    return connection;
  }

  #socketReady(connection: Connection, events: number): void {
    if ((events & (libc.EPOLLHUP | libc.EPOLLERR)) !== 0) {
      if (!connection.established) this.#abort(connection);
      else connection.hangUp();
    }
    if ((events & libc.EPOLLOUT) !== 0) connection.flush();
    if (connection.finished) this.#end(connection);
    else if ((events & libc.EPOLLIN) !== 0 && connection.reading === 'socket') this.#rx?.read(connection);
    this.#rx?.settle(connection);
    this.#pump();
  }

  /**
   * Ends a finished connection. The RST is the reply to the guest's SHUTDOWN (virtio 1.2,
   * 5.10.6.6).
   */
  #end(connection: Connection): void {
    if (connection.forgotten) this.#drop(connection);
    else this.#abort(connection);
  }

  /** Ends a connection at once, with a RST to the guest. */
  #abort(connection: Connection): void {
    this.#drop(connection);
    this.#rx?.reset(connection);
  }

  #drop(connection: Connection): void {
    this.#forget(connection);
    if (this.#connections.delete(connection) && connection.hostPort < FIRST_PRIVATE_PORT) this.#toKnownPorts--;
    connection.close();
    this.#listener.resume();
  }

  #forget(connection: Connection): void {
    connection.forgotten = true;
    const ofPort = this.#table.get(connection.guestPort);
    // A connection that was forgotten earlier may have a successor with the same ports.
    if (ofPort?.get(connection.hostPort) !== connection) return;
    ofPort.delete(connection.hostPort);
    if (ofPort.size === 0) this.#table.delete(connection.guestPort);
  }

  reset(): void {
    this.#hold[Symbol.dispose]();
    this.#listener.stop();
    for (const connection of this.#connections) connection.close();
    this.#connections.clear();
    this.#asked.clear();
    this.#toKnownPorts = 0;
    this.#table.clear();
    this.#context = undefined;
    this.#rx = undefined;
    this.#chain = undefined;
    this.#transportReset = { name: 'none' };
  }

  /** A connection that the guest has closed may still have its last bytes. */
  get isUnsent(): boolean {
    return [...this.#connections].some(({ backlogLength }) => backlogLength > 0);
  }

  save(): NoState {
    return {};
  }

  restore(): void {
    // Clients wait in the listener's backlog until the driver has read the event.
    this.#listener.stop();
    this.#transportReset = { name: 'due' };
    this.kick(EVENT);
  }

  /**
   * Tells the driver, as soon as there is an event buffer, that its connections are gone (virtio
   * 1.2, 5.10.6.7). Serves the other queues once the driver has returned the buffer.
   */
  #advanceReset(): void {
    const queue = this.#context?.queues[EVENT];
    if (queue === undefined) return;
    if (this.#transportReset.name === 'due') this.#sendTransportReset(queue);
    else if (this.#transportReset.name === 'sent' && this.#countEventBuffers(queue) > this.#transportReset.spare) {
      this.#transportReset = { name: 'none' };
      this.#listen();
      for (const index of [RX, TX]) this.kick(index);
    }
  }

  #sendTransportReset(queue: Virtqueue): void {
    if (this.#chain === undefined) return;
    if (!queue.pop(this.#chain) && !(queue.enableKicks() && queue.pop(this.#chain))) return;
    const { head, writable } = this.#chain;
    const event = new Uint8Array(4);
    new DataView(event.buffer).setUint32(0, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, true);
    const written = writable.write(0, event);
    // Counted before the driver can return this one.
    this.#transportReset = { name: 'sent', spare: this.#countEventBuffers(queue) };
    queue.push(head, written);
    this.#context?.notify(EVENT);
  }

  /** Returns the number of available event buffers, and asks for a kick when there is another one. */
  #countEventBuffers(queue: Virtqueue): number {
    let count = 0;
    do {
      while (this.#chain !== undefined && queue.pop(this.#chain)) count++;
    } while (queue.enableKicks());
    queue.unpop(count);
    return count;
  }

  [Symbol.dispose](): void {
    this.reset();
    this.#listener[Symbol.dispose]();
  }
}

function keyOf(guestPort: number, hostPort: number): string {
  return `${guestPort} ${hostPort}`;
}
