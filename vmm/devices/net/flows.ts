// The flows that the policy allowed: TCP connections and pairs of UDP ports. Replies to an allowed
// remote end pass, and a TCP segment of no connection does not. The table holds as many flows as
// the guest may have. A new flow takes the place of one that has ended, was never answered or is
// idle for long; it never takes the place of an open one. If there is no place, it is refused.
import { randomWord } from '../../host/random.js';
import { type Frame, TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from './frame.js';

/** Seconds without a datagram after which a pair of UDP ports is judged anew. */
const UDP_PATIENCE = 180;
/**
 * Seconds without a frame after which a flow gives its place to a new one, if no other place is
 * free: of UDP, of a connection that was not answered (a SYN is repeated for longer, which opens it
 * again), of a connection that one side has closed, and of an open connection (as Linux's
 * connection tracking).
 */
const REPLACED_AFTER = { udp: 30, opening: 60, closing: 3600, open: 5 * 24 * 3600 };

/** What flows are kept in, each in the order of their last frames. */
const LISTS = ['closed', 'udp', 'opening', 'closing', 'open'] as const;
const [CLOSED, DATAGRAMS, OPENING, CLOSING, OPEN] = LISTS.keys() as unknown as [0, 1, 2, 3, 4];

// Words of an entry. Entry 0 stands for none.
/** Remote address: four words. */
const REMOTE = 0;
/** The guest's port in the high half, the remote one in the low half. */
const PORTS = 4;
const KIND = 5;
/** Time of the last frame in seconds. */
const SEEN = 6;
const LIST = 7;
const FLAGS = 8;
/**
 * The sequence number that each expects: the remote end acknowledged it last; the guest did, or has
 * got what comes before it.
 */
const GUEST_EXPECTS = 9;
const REMOTE_EXPECTS = 10;
/** The next entry of the bucket. */
const CHAIN = 11;
const PREVIOUS = 12;
const NEXT = 13;
const WORDS = 14;

// Flags of an entry.
const BY_GUEST = 1;
const GUEST_FINISHED = 2;
const REMOTE_FINISHED = 4;
const FINISHED = GUEST_FINISHED | REMOTE_FINISHED;
/** The index of the guest's address, from this bit on. */
const OWN_SHIFT = 8;

/** A connection that gave its place to another, with all that a reset of either side needs. */
export interface ForgottenFlow {
  remote: Uint32Array;
  /** The index that {@link Flows.open} was given. */
  own: number;
  guestPort: number;
  remotePort: number;
  guestExpects: number;
  remoteExpects: number;
}

export class Flows {
  readonly #capacity: number;
  readonly #onForgotten: (flow: ForgottenFlow) => void;
  readonly #entries: Uint32Array;
  readonly #buckets: Uint32Array;
  /** Guests choose ports and addresses, and must not be able to choose a bucket. */
  readonly #seed = randomWord();
  /** The least and the most recently seen flow of each list. */
  readonly #first = new Uint32Array(LISTS.length);
  readonly #last = new Uint32Array(LISTS.length);
  /** Entries that were ever used. Memory of the others is not touched. */
  #used = 0;

  /** @param onForgotten called before a connection that did not end gives its place to another */
  constructor(capacity: number, onForgotten: (flow: ForgottenFlow) => void) {
    this.#capacity = capacity;
    this.#onForgotten = onForgotten;
    this.#entries = new Uint32Array((capacity + 1) * WORDS);
    this.#buckets = new Uint32Array(2 ** Math.ceil(Math.log2(capacity + 1)));
  }

  /**
   * Records a frame. Returns false if it belongs to no flow, or to a pair of UDP ports that is idle
   * for too long.
   * @param outgoing the guest sends the frame
   * @param now in seconds, above 0
   */
  has(frame: Frame, outgoing: boolean, now: number): boolean {
    const at = this.#find(frame, outgoing);
    if (at === 0 || (frame.kind !== TCP && now - this.#entries[at + SEEN]! > UDP_PATIENCE)) return false;
    if (frame.kind === TCP) this.#follow(at, frame, outgoing);
    this.#move(at, this.#entries[at + LIST]!, now);
    return true;
  }

  /**
   * Opens the flow of a datagram or of a SYN. Returns false if all places are taken.
   * @param own the index of the guest's address
   */
  open(frame: Frame, outgoing: boolean, now: number, own = 0): boolean {
    const list = frame.kind === TCP ? OPENING : DATAGRAMS;
    let at = this.#find(frame, outgoing);
    if (at === 0) {
      at = this.#place(now);
      if (at === 0) return false;
      this.#fill(at, frame, outgoing);
    } else if (this.#entries[at + LIST] === OPEN || (this.#entries[at + LIST] === CLOSING && !outgoing)) {
      // A SYN from outside may be forged. The guest's own, on an open connection, is one that the
      // guest's kernel gave up silently; it has its place already.
      this.#move(at, this.#entries[at + LIST]!, now);
      return true;
    }
    this.#entries[at + FLAGS] = (outgoing ? BY_GUEST : 0) | (own << OWN_SHIFT);
    this.#move(at, list, now);
    return true;
  }

  /** Moves a connection on as the segment says. */
  #follow(at: number, frame: Frame, outgoing: boolean): void {
    const { tcpFlags, acknowledgment } = frame;
    const entries = this.#entries;
    if (!outgoing) this.#passOn(at, frame);
    if ((tcpFlags & TCP_ACK) !== 0) {
      if (outgoing) this.#expects(at, acknowledgment, tcpFlags);
      else entries[at + REMOTE_EXPECTS] = acknowledgment;
    }
    if (entries[at + LIST] === CLOSED) return;
    if ((tcpFlags & TCP_RST) !== 0) {
      this.#relist(at, CLOSED);
      return;
    }
    const isAnswer = ((entries[at + FLAGS]! & BY_GUEST) !== 0) !== outgoing;
    if (entries[at + LIST] === OPENING && isAnswer && (tcpFlags & TCP_ACK) !== 0) this.#relist(at, OPEN);
    if ((tcpFlags & TCP_FIN) === 0) return;
    entries[at + FLAGS] = entries[at + FLAGS]! | (outgoing ? GUEST_FINISHED : REMOTE_FINISHED);
    this.#relist(at, (entries[at + FLAGS]! & FINISHED) === FINISHED ? CLOSED : CLOSING);
  }

  /** Notes that the guest gets a segment. It acknowledges it a moment later. */
  #passOn(at: number, { tcpFlags, sequence, payload, end }: Frame): void {
    const length = end - payload + ((tcpFlags & (TCP_SYN | TCP_FIN)) === 0 ? 0 : 1);
    if (length > 0) this.#expects(at, (sequence + length) >>> 0, tcpFlags);
  }

  /** The number that the guest expects only grows, once a SYN has said where it begins. */
  #expects(at: number, next: number, tcpFlags: number): void {
    const entries = this.#entries;
    const isFirst = (tcpFlags & TCP_SYN) !== 0;
    if (isFirst || ((next - entries[at + GUEST_EXPECTS]!) | 0) > 0) entries[at + GUEST_EXPECTS] = next;
  }

  /** An entry for a new flow, in no bucket; 0 if there is none. */
  #place(now: number): number {
    if (this.#used < this.#capacity) return ++this.#used * WORDS;
    const at =
      this.#first[CLOSED]! ||
      this.#idle(DATAGRAMS, now, REPLACED_AFTER.udp) ||
      this.#idle(OPENING, now, REPLACED_AFTER.opening) ||
      this.#idle(CLOSING, now, REPLACED_AFTER.closing) ||
      this.#idle(OPEN, now, REPLACED_AFTER.open);
    if (at === 0) return 0;
    const list = this.#entries[at + LIST];
    if (list === CLOSING || list === OPEN) this.#onForgotten(this.#describe(at));
    this.#unlink(at);
    this.#unchain(at);
    return at;
  }

  /** The flow of the list that is idle for longest, if it is so for this many seconds; else 0. */
  #idle(list: number, now: number, seconds: number): number {
    const at = this.#first[list]!;
    return at !== 0 && now - this.#entries[at + SEEN]! > seconds ? at : 0;
  }

  #describe(at: number): ForgottenFlow {
    const entries = this.#entries;
    return {
      remote: entries.slice(at + REMOTE, at + REMOTE + 4),
      own: entries[at + FLAGS]! >>> OWN_SHIFT,
      guestPort: entries[at + PORTS]! >>> 16,
      remotePort: entries[at + PORTS]! & 0xffff,
      guestExpects: entries[at + GUEST_EXPECTS]!,
      remoteExpects: entries[at + REMOTE_EXPECTS]!,
    };
  }

  #fill(at: number, frame: Frame, outgoing: boolean): void {
    const entries = this.#entries;
    entries.set(outgoing ? frame.destination : frame.source, at + REMOTE);
    entries[at + PORTS] = portsOf(frame, outgoing);
    entries[at + KIND] = frame.kind;
    entries[at + GUEST_EXPECTS] = 0;
    entries[at + REMOTE_EXPECTS] = 0;
    const bucket = this.#bucketOf(entries, at + REMOTE, entries[at + PORTS]!, frame.kind);
    entries[at + CHAIN] = this.#buckets[bucket]!;
    this.#buckets[bucket] = at;
    entries[at + LIST] = CLOSED;
    this.#link(at, CLOSED);
  }

  #find(frame: Frame, outgoing: boolean): number {
    const entries = this.#entries;
    const remote = outgoing ? frame.destination : frame.source;
    const ports = portsOf(frame, outgoing);
    let at = this.#buckets[this.#bucketOf(remote, 0, ports, frame.kind)]!;
    for (; at !== 0; at = entries[at + CHAIN]!) {
      if (
        entries[at + PORTS] === ports &&
        entries[at + KIND] === frame.kind &&
        entries[at] === remote[0] &&
        entries[at + 1] === remote[1] &&
        entries[at + 2] === remote[2] &&
        entries[at + 3] === remote[3]
      ) {
        return at;
      }
    }
    return 0;
  }

  /** Moves an entry to the end of a list. */
  #move(at: number, list: number, now: number): void {
    this.#relist(at, list);
    this.#entries[at + SEEN] = now;
  }

  #relist(at: number, list: number): void {
    this.#unlink(at);
    this.#link(at, list);
  }

  #link(at: number, list: number): void {
    const entries = this.#entries;
    const last = this.#last[list]!;
    entries[at + LIST] = list;
    entries[at + PREVIOUS] = last;
    entries[at + NEXT] = 0;
    if (last === 0) this.#first[list] = at;
    else entries[last + NEXT] = at;
    this.#last[list] = at;
  }

  #unlink(at: number): void {
    const entries = this.#entries;
    const list = entries[at + LIST]!;
    const [previous, next] = [entries[at + PREVIOUS]!, entries[at + NEXT]!];
    if (previous === 0) this.#first[list] = next;
    else entries[previous + NEXT] = next;
    if (next === 0) this.#last[list] = previous;
    else entries[next + PREVIOUS] = previous;
  }

  #unchain(at: number): void {
    const entries = this.#entries;
    const bucket = this.#bucketOf(entries, at + REMOTE, entries[at + PORTS]!, entries[at + KIND]!);
    let before = this.#buckets[bucket]!;
    if (before === at) {
      this.#buckets[bucket] = entries[at + CHAIN]!;
      return;
    }
    while (entries[before + CHAIN] !== at) before = entries[before + CHAIN]!;
    entries[before + CHAIN] = entries[at + CHAIN]!;
  }

  #bucketOf(remote: Uint32Array, at: number, ports: number, kind: number): number {
    let hash = this.#seed ^ Math.imul(ports ^ kind, 0x85ebca6b);
    for (let word = 0; word < 4; word++) hash = Math.imul(hash ^ remote[at + word]!, 0x9e3779b1) ^ (hash >>> 15);
    hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2ae35);
    return (hash ^ (hash >>> 13)) & (this.#buckets.length - 1);
  }
}

function portsOf(frame: Frame, outgoing: boolean): number {
  const [local, remote] = outgoing
    ? [frame.sourcePort, frame.destinationPort]
    : [frame.destinationPort, frame.sourcePort];
  return ((local << 16) | remote) >>> 0;
}
