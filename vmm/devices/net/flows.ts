// The flows that the policy allowed: TCP connections and pairs of UDP ports. Replies to an allowed
// remote end pass, and a TCP segment of no connection does not. The table has a fixed size and
// allocates nothing: it has sets of four entries, in which a new flow replaces the least recently
// seen one. A guest that fills the table loses only its own flows.
import type { Frame } from './frame.js';

const SETS = 4096;
const WAYS = 4;
/**
 * Words of an entry: remote address, ports (the guest's in the high half), kind, time last seen.
 */
const WORDS = 7;
const PORTS = 4;
const KIND = 5;
const SEEN = 6;

export class Flows {
  readonly #entries = new Uint32Array(SETS * WAYS * WORDS);

  /**
   * Returns true if the frame belongs to a flow that was last seen at most `patience` seconds ago,
   * and updates that time.
   * @param outgoing the guest sends the frame
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

  /** Adds the frame's flow. */
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
