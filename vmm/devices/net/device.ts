// The network device (virtio 1.2, 5.1 "Network Device"): one pair of queues, checksum and
// segmentation offloads, mergeable receive buffers. Each of the guest's frames must pass the policy
// (policy.ts) before it reaches the back end. The policy examines a copy of the headers, which the
// guest cannot change afterwards.

import type { Address } from '../../../addresses/ip.js';
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { Timer } from '../../host/timer.js';
import {
  MachineError,
  type NetworkSpec,
  type PeerNetwork,
  type Refusal,
  type RefusalCounts,
  type RefusalReason,
} from '../../machine.js';
import { EgressAddress } from '../../outside/egress-address.js';
import { HostAddresses } from '../../outside/host-addresses.js';
import { Rate } from '../../rate.js';
import { type NoState, noState } from '../../saved-state.js';
import type { DeviceContext, VirtioDevice } from '../../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../../virtio/queue.js';
import { type CheckedFrame, type FrameReceiver, HEADROOM, type NetBackEnd } from './back-end.js';
import { answerQuery, parseQuery } from './dns.js';
import type { ForgottenFlow } from './flows.js';
import { ETHERNET_HEADER, Frame, MAX_HEADERS, TCP } from './frame.js';
import { completeChecksum, NET_HEADER, NetHeader, NUM_BUFFERS, VIRTIO_NET_HDR_F_NEEDS_CSUM } from './header.js';
import { parseMac } from './mac-address.js';
import { type Link, type NetworkSockets, Peers } from './peers.js';
import { type FramePolicy, Policy } from './policy.js';
import { RefusalLog } from './refusal-log.js';
import { answerRefusal, datagram, resetOf, tcpReset } from './refusal-reply.js';
import { WirePolicy } from './wire-policy.js';

const VIRTIO_ID_NET = 1;

// Feature bits (virtio 1.2, 5.1.3).
export const VIRTIO_NET_F_CSUM = 0;
export const VIRTIO_NET_F_GUEST_CSUM = 1;
export const VIRTIO_NET_F_MTU = 3;
export const VIRTIO_NET_F_MAC = 5;
export const VIRTIO_NET_F_GUEST_TSO4 = 7;
export const VIRTIO_NET_F_GUEST_TSO6 = 8;
export const VIRTIO_NET_F_HOST_TSO4 = 11;
export const VIRTIO_NET_F_HOST_TSO6 = 12;
export const VIRTIO_NET_F_MRG_RXBUF = 15;
export const VIRTIO_NET_F_STATUS = 16;
const OFFLOADS = [
  ...[VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM],
  ...[VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6],
];

// Queues (virtio 1.2, 5.1.2).
export const RECEIVE = 0;
export const TRANSMIT = 1;
const QUEUE_SIZE = 256;

// Configuration space (virtio 1.2, 5.1.4).
const CONFIG_STATUS = 6;
const CONFIG_PAIRS = 8;
const CONFIG_MTU = 10;
const CONFIG_LENGTH = 12;
const VIRTIO_NET_S_LINK_UP = 1;

const MAC_LENGTH = 6;

/** Ethernet header and the largest IP packet. */
const MAX_FRAME = 65535 + ETHERNET_HEADER;
/**
 * A frame of up to this many bytes is copied whole; a DNS query is no longer. Of a larger one, the
 * headers are copied.
 */
const COPIED = 2048;

export interface NetOptions {
  spec: NetworkSpec;
  backEnd: NetBackEnd;
  onRefusal: (refusal: Refusal) => void;
  /** The event loop for private networks. */
  loop: EventLoop;
  /** From openRouteSocket. The device owns it. A wire has no use for it. */
  routeSocket: () => number;
  /** The sockets of private networks. */
  networks: NetworkSockets;
}

export class VirtioNet implements VirtioDevice<NoState>, FrameReceiver {
  readonly type = VIRTIO_ID_NET;
  readonly name = 'net';
  readonly features: readonly number[];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly checkState = noState;
  readonly config = new Uint8Array(CONFIG_LENGTH);
  readonly spec: NetworkSpec;
  readonly #backEnd: NetBackEnd;
  readonly #host: HostAddresses | undefined;
  readonly #policy: FramePolicy;
  /** Undefined: the guest is in no private network and cannot join one. */
  readonly #peers: Peers | undefined;
  readonly #egress: EgressAddress | undefined;
  readonly #refusals: RefusalLog;
  readonly #frame = new Frame();
  readonly #memory: number;
  readonly #bytes: Uint8Array;
  /** The copied part of a frame. */
  readonly #head: Uint8Array;
  readonly #header = new NetHeader();
  readonly #peerHeader = new NetHeader();
  readonly #mac: Uint8Array;
  readonly #gatewayMac: Uint8Array;
  readonly #noOffload = new Uint8Array(NET_HEADER);
  readonly #checked: CheckedFrame;
  /** The device's own frames to the outside that are not sent yet. */
  readonly #own: Uint8Array[] = [];
  /** Resets for the guest that are not delivered yet. */
  readonly #resets: Uint8Array[] = [];
  #context: DeviceContext | undefined;
  #chain: DescriptorChain | undefined;
  /** The first chain of a received frame, and each further one. */
  #first: DescriptorChain | undefined;
  #more: DescriptorChain | undefined;
  #hasChecksum = false;
  #hasSegmentation = false;
  #givesChecksum = false;
  takesSegments = false;
  #merges = false;
  #received = false;
  readonly #sending: Rate | undefined;
  readonly #receiving: Rate | undefined;
  /** Each is set while its direction waits for its rate. */
  #sendTimer: Timer | undefined;
  #receiveTimer: Timer | undefined;
  #sendWaits = false;
  #receiveWaits = false;

  /**
   * Takes ownership of the back end.
   * @throws RangeError for an invalid address; libc.SystemError
   */
  constructor({ spec, backEnd, onRefusal, loop, routeSocket, networks }: NetOptions) {
    this.spec = spec;
    this.#backEnd = backEnd;
    if (spec.rates !== undefined) {
      const rates = { bytes: spec.rates.bytes, requests: spec.rates.packets };
      this.#sending = new Rate(rates, performance.now());
      this.#receiving = new Rate(rates, performance.now());
    }
    if (spec.backEnd.kind === 'wire') {
      this.#policy = new WirePolicy(spec.mac);
    } else {
      this.#host = new HostAddresses(routeSocket());
      this.#policy = new Policy({ ...spec, host: this.#host, onForgotten: (flow, own) => this.#forget(flow, own) });
    }
    this.#refusals = new RefusalLog(onRefusal);
    const egress = spec.backEnd.kind === 'relay' ? spec.backEnd.egress : undefined;
    this.#egress = egress && new EgressAddress(egress);
    if (spec.peers !== undefined) {
      const [address] = spec.addresses;
      if (address === undefined) throw new RangeError('a guest in private networks needs an address');
      this.#peers = new Peers({
        loop,
        address,
        ranges: spec.peerRanges,
        networks,
        onMessage: (link, bytes, length) => this.#receivePeer(link, bytes, length),
        onFlush: () => this.flush(),
      });
      for (const network of spec.peers) this.#peers.join(network);
    }
    const common = [VIRTIO_NET_F_MTU, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_STATUS];
    this.features = backEnd.offloads ? [...OFFLOADS, ...common] : common;
    this.#mac = parseMac(spec.mac);
    this.#gatewayMac = parseMac(spec.gatewayMac);
    this.config.set(this.#mac);
    const view = new DataView(this.config.buffer);
    view.setUint16(CONFIG_STATUS, VIRTIO_NET_S_LINK_UP, true);
    view.setUint16(CONFIG_PAIRS, 1, true);
    view.setUint16(CONFIG_MTU, spec.mtu, true);
    const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
    const length = HEADROOM + COPIED;
    this.#memory = libc.check(libc.mmap(null, length, libc.PROT_READ | libc.PROT_WRITE, flags, -1, 0), 'mmap');
    this.#bytes = new Uint8Array(libc.viewMemory(this.#memory, length));
    this.#head = this.#bytes.subarray(HEADROOM);
    this.#checked = {
      header: this.#header,
      frame: this.#frame,
      bytes: this.#bytes,
      memory: this.#memory,
      copied: 0,
      rest: undefined!,
      offset: 0,
      length: 0,
    };
  }

  /** The guest's refused frames, by reason. */
  get refused(): RefusalCounts {
    return this.#refusals.counts;
  }

  /** Joins a private network. @throws MachineError `no-network` */
  join(network: PeerNetwork): void {
    if (this.#peers === undefined)
      throw new MachineError('no-network', 'the machine was not started for private networks');
    this.#peers.join(network);
  }

  leave(folder: string): void {
    this.#peers?.leave(folder);
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#chain = new DescriptorChain(context.memory, QUEUE_SIZE);
    this.#first = new DescriptorChain(context.memory, QUEUE_SIZE);
    this.#more = new DescriptorChain(context.memory, QUEUE_SIZE);
    this.#checked.rest = this.#chain.readable;
    this.#hasChecksum = context.hasFeature(VIRTIO_NET_F_CSUM);
    this.#hasSegmentation = context.hasFeature(VIRTIO_NET_F_HOST_TSO4) || context.hasFeature(VIRTIO_NET_F_HOST_TSO6);
    this.#givesChecksum = context.hasFeature(VIRTIO_NET_F_GUEST_CSUM);
    this.takesSegments = context.hasFeature(VIRTIO_NET_F_GUEST_TSO4) && context.hasFeature(VIRTIO_NET_F_GUEST_TSO6);
    this.#merges = context.hasFeature(VIRTIO_NET_F_MRG_RXBUF);
    // A kick for new buffers is useful only after a frame found none.
    context.queues[RECEIVE]?.disableKicks();
    if (this.spec.rates !== undefined) {
      this.#sendTimer ??= new Timer(context.loop, () => {
        this.#sendWaits = false;
        this.kick(TRANSMIT);
      });
      this.#receiveTimer ??= new Timer(context.loop, () => {
        this.#receiveWaits = false;
        this.#resumeReceiving();
      });
    }
    this.#backEnd.attach(this);
  }

  kick(index: number): void {
    if (this.#context === undefined) return;
    if (index === TRANSMIT) this.#transmit();
    else if (index === RECEIVE) {
      this.#context.queues[RECEIVE]?.disableKicks();
      this.#deliverResets();
      this.#resumeReceiving();
    }
  }

  #resumeReceiving(): void {
    this.#backEnd.resume();
    this.#peers?.resume();
    this.flush();
  }

  /** Returns true if the rate holds a frame back that the guest sends. */
  #holdsSending(length: number): boolean {
    if (this.#sending === undefined) return false;
    const delay = this.#sending.delay(performance.now());
    if (delay === 0) {
      // A malformed frame may have any length.
      const cost = Math.min(Math.max(0, length), MAX_FRAME);
      this.#sending.take(cost, this.#packets(cost));
      return false;
    }
    this.#sendWaits = true;
    this.#sendTimer?.set(delay);
    return true;
  }

  /** Returns true if the rate holds frames for the guest back. */
  #holdsReceiving(): boolean {
    if (this.#receiving === undefined || this.#receiveWaits) return this.#receiveWaits;
    const delay = this.#receiving.delay(performance.now());
    if (delay === 0) return false;
    this.#receiveWaits = true;
    this.#receiveTimer?.set(delay);
    return true;
  }

  /** A segmented frame stands for several packets. */
  #packets(length: number): number {
    return Math.max(1, Math.ceil(length / this.spec.mtu));
  }

  /**
   * Sends up to as many frames as the queue's size, and defers the rest to the next turn of the
   * event loop.
   */
  #transmit(): void {
    const context = this.#context;
    const queue = context?.queues[TRANSMIT];
    const chain = this.#chain;
    if (context === undefined || queue === undefined || chain === undefined || this.#sendWaits) return;
    const now = performance.now() / 1000 + 1;
    let budget = queue.size;
    queue.disableKicks();
    do {
      while (budget > 0 && !this.#backEnd.busy && queue.pop(chain)) {
        if (this.#holdsSending(chain.readable.length - NET_HEADER)) {
          queue.unpop(1);
          break;
        }
        budget--;
        this.#send(chain, now);
        queue.push(chain.head, 0);
      }
      // `ready`, or the timer, continues.
      if (this.#backEnd.busy || this.#sendWaits) break;
      if (budget === 0) {
        context.loop.defer(() => this.kick(TRANSMIT));
        break;
      }
    } while (queue.enableKicks());
    context.notify(TRANSMIT);
    this.flush();
  }

  #send(chain: DescriptorChain, now: number): void {
    const { readable } = chain;
    const total = readable.length - NET_HEADER;
    if (readable.read(0, this.#header.bytes) !== NET_HEADER || total > MAX_FRAME) {
      this.#context?.fail('a frame has no header or is too long');
      return;
    }
    const whole = total <= COPIED;
    const copied = readable.read(NET_HEADER, this.#head, whole ? total : MAX_HEADERS);
    const frame = this.#frame;
    frame.parse(this.#head, 0, total);
    if ((this.#peers !== undefined || this.#egress !== undefined) && this.#answersName(copied)) return;
    const link = this.#peers?.find(frame.destination);
    const reason = this.#policy.outgoing(frame, this.#head, copied, now, link !== undefined);
    if (reason !== undefined) {
      this.#refuse(reason, copied);
      return;
    }
    if (this.#header.settle(frame, this.#hasChecksum, this.#hasSegmentation) !== undefined) {
      this.#refuse('malformed', copied);
      return;
    }
    this.#policy.departs(frame, this.#head, this.#header.needsChecksum, now);
    // Bytes after the packet are not sent.
    const checked = this.#checked;
    checked.length = frame.end;
    checked.copied = Math.min(copied, frame.end);
    checked.offset = NET_HEADER + checked.copied;
    if (link === undefined) this.#backEnd.send(checked);
    else this.#peers?.send(link, checked);
    this.#sendOwn();
  }

  /**
   * Answers a DNS query for the name of a peer, or of a host that a proxy stands for, in place of the
   * resolver: with its address of IPv4 alone. Returns false for any other frame.
   */
  #answersName(copied: number): boolean {
    const frame = this.#frame;
    if (!this.#policy.isQuery(frame) || frame.end > copied) return false;
    const message = this.#head.subarray(frame.payload, frame.end);
    const question = parseQuery(message);
    if (question === undefined) return false;
    const address = this.#egress?.resolve(question.name) ?? this.#peers?.resolve(question.name);
    if (address === undefined) return false;
    const ipv4 = new Uint8Array(4);
    new DataView(ipv4.buffer).setUint32(0, address[3]!);
    const answer = datagram(frame, this.#head, answerQuery(message, question, [ipv4]));
    this.#deliver(this.#noOffload, answer, 0, answer.length);
    return true;
  }

  /**
   * Takes a message from a peer, which is trusted as little as the guest. Returns false if the
   * guest has no room.
   */
  #receivePeer(link: Link, bytes: Uint8Array, length: number): boolean {
    if (this.#holdsReceiving()) return false;
    const frame = this.#frame;
    frame.parse(bytes, NET_HEADER, length - NET_HEADER);
    const header = this.#peerHeader;
    header.bytes.set(bytes.subarray(0, NET_HEADER));
    if (!this.#policy.isFromPeer(frame, link.address) || header.settle(frame, true, true) !== undefined) return true;
    bytes.set(this.#mac, NET_HEADER);
    bytes.set(this.#gatewayMac, NET_HEADER + MAC_LENGTH);
    if (header.isSegmented && !this.takesSegments) return true;
    if (header.needsChecksum && !this.#givesChecksum) completeChecksum(header, bytes, NET_HEADER, frame);
    return this.#deliver(header.bytes, bytes, NET_HEADER, frame.end);
  }

  #refuse(reason: RefusalReason, copied: number): void {
    this.#refusals.add(reason, this.#frame);
    const answer = answerRefusal(this.#frame, this.#head, copied, reason);
    // A reply that finds no room is lost, as on any network.
    if (answer !== undefined) this.#deliver(this.#noOffload, answer, 0, answer.length);
  }

  /** Resets both sides of a connection that gives its place to another. */
  #forget(flow: ForgottenFlow, own: Address): void {
    const { remote, guestPort, remotePort, guestExpects, remoteExpects } = flow;
    const fromGuest = {
      ...{ sourceMac: this.#mac, source: own, sourcePort: guestPort },
      ...{ destinationMac: this.#gatewayMac, destination: remote, destinationPort: remotePort },
    };
    this.#own.push(tcpReset(fromGuest, remoteExpects, guestExpects));
    this.#resetGuest(flow, own);
  }

  #resetGuest({ remote, guestPort, remotePort, guestExpects, remoteExpects }: ForgottenFlow, own: Address): void {
    const toGuest = {
      ...{ sourceMac: this.#gatewayMac, source: remote, sourcePort: remotePort },
      ...{ destinationMac: this.#mac, destination: own, destinationPort: guestPort },
    };
    this.#resets.push(tcpReset(toGuest, guestExpects, remoteExpects));
    this.#deliverResets();
  }

  /** A reset that finds no room waits: a guest that only reads would not notice otherwise. */
  #deliverResets(): void {
    for (let reset = this.#resets.at(-1); reset !== undefined; reset = this.#resets.at(-1)) {
      if (!this.#deliver(this.#noOffload, reset, 0, reset.length)) return;
      this.#resets.pop();
    }
  }

  /** Sends the device's own frames outside. One that finds no room is lost, as on any network. */
  #sendOwn(): void {
    for (const frame of this.#own.splice(0)) {
      if (this.#backEnd.busy) continue;
      const checked = this.#checked;
      this.#head.set(frame);
      this.#frame.parse(frame, 0, frame.length);
      this.#header.bytes.fill(0);
      checked.length = frame.length;
      checked.copied = frame.length;
      checked.offset = NET_HEADER;
      this.#backEnd.send(checked);
    }
  }

  receive(header: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
    if (length < ETHERNET_HEADER || length > MAX_FRAME) return true;
    if (this.#holdsReceiving()) return false;
    const frame = this.#frame;
    const now = performance.now() / 1000 + 1;
    frame.parse(bytes, start, length);
    const arrival = this.#policy.incoming(frame, now);
    if (arrival === 'answer') return this.#receiveAnswer(header, bytes, start, length, now);
    if (arrival === 'pass') return this.#pass(header, bytes, start, length);
    if (arrival === 'limit') this.#refusals.add(arrival, frame);
    const reset = frame.kind === TCP ? resetOf(frame, bytes.subarray(start)) : undefined;
    if (reset !== undefined) this.#own.push(reset);
    this.#sendOwn();
    return true;
  }

  /** Delivers a frame whose checksum may be pending. */
  #pass(header: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
    if (!this.#givesChecksum && (header[0]! & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
      this.#peerHeader.bytes.set(header);
      completeChecksum(this.#peerHeader, bytes, start, this.#frame);
    }
    return this.#deliver(this.#offload(header), bytes, start, length);
  }

  /** The header for the guest, of a frame with this one. */
  #offload(header: Uint8Array): Uint8Array {
    return this.#givesChecksum ? header : this.#noOffload;
  }

  /** Receives the answer to a question that the device asked in its own words. */
  #receiveAnswer(header: Uint8Array, bytes: Uint8Array, start: number, length: number, now: number): boolean {
    const isPending = (header[0]! & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
    const answer = this.#policy.translate(this.#frame, bytes.subarray(start, start + length), isPending, now);
    if (answer === undefined) return true;
    if (!this.#deliver(this.#offload(header), answer, 0, length)) return false;
    this.#policy.answered(this.#frame, bytes, start, now);
    return true;
  }

  /**
   * Writes a frame into one buffer of the guest, or several with merging. Returns false if there
   * are not enough.
   */
  #deliver(header: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
    const queue = this.#context?.queues[RECEIVE];
    const first = this.#first;
    if (queue === undefined || first === undefined) return true;
    if (!this.#popRoom(queue, first)) return false;
    const room = first.writable.length - NET_HEADER;
    if (room < 0) {
      this.#context?.fail('a receive buffer is shorter than a header');
      return true;
    }
    let done = first.writable.write(NET_HEADER, bytes.subarray(start, start + Math.min(length, room)));
    let buffers = 1;
    queue.stage(first.head, NET_HEADER + done);
    while (done < length) {
      if (!this.#merges || !this.#popRoom(queue, this.#more!)) {
        queue.unstage(buffers);
        queue.unpop(buffers);
        // Without merging, a frame longer than the buffer is lost.
        return !this.#merges;
      }
      const { writable, head } = this.#more!;
      const count = writable.write(0, bytes.subarray(start + done, start + length));
      queue.stage(head, count);
      done += count;
      buffers++;
    }
    this.#receiving?.take(length, this.#packets(length));
    first.writable.write(0, header);
    first.writable.write(NUM_BUFFERS, Uint8Array.of(buffers & 0xff, buffers >> 8));
    queue.publish();
    this.#received = true;
    return true;
  }

  /**
   * Takes a chain for a received frame. Returns false, and asks the driver for a kick, if there is
   * none.
   */
  #popRoom(queue: Virtqueue, chain: DescriptorChain): boolean {
    return queue.pop(chain) || (queue.enableKicks() && queue.pop(chain));
  }

  flush(): void {
    if (!this.#received) return;
    this.#received = false;
    this.#context?.notify(RECEIVE);
  }

  ready(): void {
    this.kick(TRANSMIT);
  }

  lost(): void {
    this.config[CONFIG_STATUS] = 0;
    this.#context?.configChanged();
  }

  reset(): void {
    this.#backEnd.detach();
    this.#resets.length = 0;
    this.#sendWaits = false;
    this.#receiveWaits = false;
    this.#sendTimer?.clear();
    this.#receiveTimer?.clear();
    this.#context = undefined;
    this.#chain = undefined;
    this.#first = undefined;
    this.#more = undefined;
    this.#received = false;
  }

  /** Connections end with their machine, so nothing about them is saved. */
  save(): NoState {
    return {};
  }

  restore(): void {
    for (const queue of [RECEIVE, TRANSMIT]) this.kick(queue);
  }

  [Symbol.dispose](): void {
    this.reset();
    this.#peers?.[Symbol.dispose]();
    this.#backEnd[Symbol.dispose]();
    this.#host?.[Symbol.dispose]();
    this.#sendTimer?.[Symbol.dispose]();
    this.#receiveTimer?.[Symbol.dispose]();
    libc.munmap(this.#memory, HEADROOM + COPIED);
  }
}
