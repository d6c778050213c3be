// The flows that were let through: TCP connections and pairs of UDP ports, so that answers to a stranger who was let in
// pass, and so that a TCP segment of no connection does not. A table of fixed size without allocation: sets of four; the
// flow of a set that was seen least recently makes room, and a guest that fills the table forgets its own flows only.
import type { Frame } from './frame.js';

const SETS = 4096;
const WAYS = 4;
/** Words of an entry: the remote address, the ports (guest's in the high half), the kind, when it was last seen. */
const WORDS = 7;
const PORTS = 4;
const KIND = 5;
const SEEN = 6;

export class Flows {
  readonly #entries = new Uint32Array(SETS * WAYS * WORDS);

  /**
   * Whether the frame belongs to a flow that was seen at most `patience` seconds ago; it is then seen now.
   * @param outgoing the frame is the guest's
   * @param now in seconds, above 0
   */
  has(frame: Frame, outgoing: boolean, now: number, patience: number): boolean {
    const remote = outgoing ? frame.destination : frame.source;
    const ports = portsOf(frame, outgoing);
    const at = this.#find(remote, ports, frame.kind);
    if (at < 0 || now - this.#entries[at + SEEN]! > patience) return false;
    this.#entries[at + SEEN] = now;
    return true;
  }

  /** Takes the frame's flow up. */
  add(frame: Frame, outgoing: boolean, now: number): void {
    const entries = this.#entries;
    const remote = outgoing ? frame.destination : frame.source;
    const ports = portsOf(frame, outgoing);
    let at = this.#find(remote, ports, frame.kind);
    if (at < 0) {
      at = setOf(remote, ports, frame.kind);
      const end = at + WAYS * WORDS;
      for (let way = at + WORDS; way < end; way += WORDS) if (entries[way + SEEN]! < entries[at + SEEN]!) at = way;
      entries.set(remote, at);
      entries[at + PORTS] = ports;
      entries[at + KIND] = frame.kind;
    }
    entries[at + SEEN] = now;
  }

  #find(remote: Uint32Array, ports: number, kind: number): number {
    const entries = this.#entries;
    const start = setOf(remote, ports, kind);
    for (let at = start; at < start + WAYS * WORDS; at += WORDS) {
      if (entries[at + SEEN] === 0 || entries[at + PORTS] !== ports || entries[at + KIND] !== kind) continue;
      if (
        entries[at] === remote[0] &&
        entries[at + 1] === remote[1] &&
        entries[at + 2] === remote[2] &&
        entries[at + 3] === remote[3]
      ) {
        return at;
      }
    }
    return -1;
  }
}

function portsOf(frame: Frame, outgoing: boolean): number {
  const [local, remote] = outgoing
    ? [frame.sourcePort, frame.destinationPort]
    : [frame.destinationPort, frame.sourcePort];
  return ((local << 16) | remote) >>> 0;
}

function setOf(remote: Uint32Array, ports: number, kind: number): number {
  let hash = ports ^ kind;
  for (let word = 0; word < 4; word++) hash = Math.imul(hash ^ remote[word]!, 0x9e3779b1) ^ (hash >>> 15);
  return ((hash ^ (hash >>> 13)) & (SETS - 1)) * WAYS * WORDS;
}
