// The guest's questions to its resolvers, asked in the device's own words: with a random ID from a
// random port (RFC 5452), neither of which the guest chooses. So a forged answer has to guess both,
// and an accomplice of the guest outside cannot know them. A question has one answer.
import { randomBetween } from '../../host/random.js';
import { isBareRefusal, isTruncated, type Question, questionOf } from './dns.js';
import { type Frame, u16 } from './frame.js';

const MAX_QUESTIONS = 512;
/** Seconds for which a question waits for its answer. */
const PATIENCE = 30;
/** Seconds for which a question may be repeated by TCP after a truncated answer. */
const TCP_PATIENCE = 30;
const MAX_TRUNCATED = 256;
const FIRST_PORT = 32768;
const PORTS = 65536;
const UDP_CHECKSUM = 6;

interface Asked {
  key: string;
  question: Question;
  guestPort: number;
  port: number;
  id: number;
  time: number;
  isAnswered: boolean;
}

export class Questions {
  /** By resolver and own port, oldest first. An answered one stays: what else comes is no answer. */
  readonly #asked = new Map<string, Asked>();
  /** The time until which a question may be asked by TCP, by resolver and name; oldest first. */
  readonly #truncated = new Map<string, number>();
  readonly #published: (port: number) => boolean;

  /** @param published returns true for a port of the guest that is published by UDP */
  constructor(published: (port: number) => boolean) {
    this.#published = published;
  }

  /**
   * Rewrites the guest's query: its port, also in the parsed frame, and its ID.
   * @param bytes the whole frame
   * @param pending the checksum is not complete yet, and covers neither port nor ID
   */
  ask(frame: Frame, bytes: Uint8Array, question: Question, pending: boolean, now: number): void {
    const { destination, sourcePort } = frame;
    let asked = this.#again(destination, sourcePort, question);
    if (asked === undefined) {
      if (this.#asked.size === MAX_QUESTIONS) forgetFirst(this.#asked);
      const port = this.#freePort(destination);
      const key = keyOf(destination, port);
      asked = {
        key,
        question,
        guestPort: sourcePort,
        port,
        id: randomBetween(0, 0x10000),
        time: now,
        isAnswered: false,
      };
      this.#asked.set(key, asked);
    }
    asked.time = now;
    frame.sourcePort = asked.port;
    rewrite(bytes, frame.transport, frame.transport, asked.port, pending);
    rewrite(bytes, frame.transport, frame.payload, asked.id, pending);
  }

  /** The same question of the same port, which the guest's resolver repeats. */
  #again(resolver: Uint32Array, guestPort: number, question: Question): Asked | undefined {
    for (const asked of this.#asked.values()) {
      if (asked.isAnswered || asked.guestPort !== guestPort || asked.question.id !== question.id) continue;
      if (isSameQuestion(asked.question, question) && asked.key === keyOf(resolver, asked.port)) return asked;
    }
    return undefined;
  }

  #freePort(resolver: Uint32Array): number {
    for (;;) {
      const port = randomBetween(FIRST_PORT, PORTS);
      if (!this.#published(port) && !this.#asked.has(keyOf(resolver, port))) return port;
    }
  }

  /** Returns true if the device asked from the datagram's port. */
  isForOwnPort({ source, destinationPort }: Frame, now: number): boolean {
    return this.#at(source, destinationPort, now) !== undefined;
  }

  #at(resolver: Uint32Array, port: number, now: number): Asked | undefined {
    const asked = this.#asked.get(keyOf(resolver, port));
    return asked !== undefined && now - asked.time <= PATIENCE ? asked : undefined;
  }

  /**
   * Makes the guest's answer of a resolver's: with its own port and ID. Undefined if it does not
   * answer the question.
   */
  translate(frame: Frame, bytes: Uint8Array, pending: boolean, now: number): Uint8Array | undefined {
    const asked = this.#answered(frame, bytes, 0, now);
    if (asked === undefined) return undefined;
    const copy = Uint8Array.from(bytes);
    rewrite(copy, frame.transport, frame.transport + 2, asked.guestPort, pending);
    rewrite(copy, frame.transport, frame.payload, asked.question.id, pending);
    return copy;
  }

  /**
   * Closes the question that the datagram answers, and returns it with the device's ID. The frame
   * is at `start` of `bytes`.
   */
  close(frame: Frame, bytes: Uint8Array, start: number, now: number): Question | undefined {
    const asked = this.#answered(frame, bytes, start, now);
    if (asked === undefined) return undefined;
    asked.isAnswered = true;
    if (isTruncated(bytes.subarray(start + frame.payload, start + frame.end))) {
      if (this.#truncated.size === MAX_TRUNCATED) forgetFirst(this.#truncated);
      this.#truncated.set(nameKey(frame.source, asked.question.name), now + TCP_PATIENCE);
    }
    return { ...asked.question, id: asked.id };
  }

  #answered(frame: Frame, bytes: Uint8Array, start: number, now: number): Asked | undefined {
    const asked = this.#at(frame.source, frame.destinationPort, now);
    if (asked === undefined || asked.isAnswered) return undefined;
    const message = bytes.subarray(start + frame.payload, start + frame.end);
    if (isBareRefusal(message, asked.id)) return asked;
    const answer = questionOf(message);
    return answer?.id === asked.id && isSameQuestion(asked.question, answer) ? asked : undefined;
  }

  /** Returns true if some question to the resolver had a truncated answer a moment ago. */
  hasTruncated(resolver: Uint32Array, now: number): boolean {
    const prefix = nameKey(resolver, '');
    for (const [key, until] of this.#truncated) if (until >= now && key.startsWith(prefix)) return true;
    return false;
  }

  /** Returns true if a question for this name had a truncated answer a moment ago. */
  isTruncated(resolver: Uint32Array, name: string, now: number): boolean {
    return (this.#truncated.get(nameKey(resolver, name)) ?? 0) >= now;
  }
}

function isSameQuestion(one: Question, other: Question): boolean {
  return one.name === other.name && one.type === other.type;
}

/** Replaces 16 bits of a datagram, and updates its checksum (RFC 1624). */
function rewrite(bytes: Uint8Array, transport: number, at: number, value: number, pending: boolean): void {
  const before = u16(bytes, at);
  setU16(bytes, at, value);
  const field = transport + UDP_CHECKSUM;
  const checksum = u16(bytes, field);
  // 0 is no checksum (of IPv4).
  if (pending || checksum === 0) return;
  let sum = (~checksum & 0xffff) + (~before & 0xffff) + value;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  setU16(bytes, field, ~sum & 0xffff || 0xffff);
}

function setU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

function keyOf(resolver: Uint32Array, port: number): string {
  return `${resolver.join('.')} ${port}`;
}

function nameKey(resolver: Uint32Array, name: string): string {
  return `${resolver.join('.')} ${name}`;
}

function forgetFirst<V>(map: Map<string, V>): void {
  const first = map.keys().next();
  if (!first.done) map.delete(first.value);
}
