// A hash table of flows by their addresses and ports. A lookup allocates nothing. The hash is
// seeded, so that a peer that chooses its ports cannot choose its bucket.
import { randomWord } from '../../../host/random.js';

const BUCKETS = 16384;

/** One side is the guest, the other a remote address. */
export interface Flow {
  /** Index of the guest's address. */
  readonly local: number;
  readonly remote: Uint32Array;
  /** The guest's port in the high half, the remote one in the low half. A signed integer. */
  readonly ports: number;
  /** Used by the table. */
  next: Flow | undefined;
}

/** The field {@link Flow.ports}. */
export function portsOf(guest: number, remote: number): number {
  return (guest << 16) | remote;
}

export class FlowTable<F extends Flow> {
  size = 0;
  readonly #buckets: (Flow | undefined)[] = new Array(BUCKETS).fill(undefined);
  readonly #seed = randomWord() | 0;

  #bucketOf(local: number, remote: Uint32Array, ports: number): number {
    let hash = this.#seed ^ ports ^ local;
    for (let word = 0; word < 4; word++) {
      hash = Math.imul(hash ^ remote[word]!, 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash ^ this.#seed, 0x85ebca6b);
    return (hash ^ (hash >>> 13)) & (BUCKETS - 1);
  }

  find(local: number, remote: Uint32Array, ports: number): F | undefined {
    let flow = this.#buckets[this.#bucketOf(local, remote, ports)];
    for (; flow !== undefined; flow = flow.next) {
      if (flow.ports !== ports || flow.local !== local) continue;
      const other = flow.remote;
      if (other[3] !== remote[3] || other[0] !== remote[0] || other[1] !== remote[1] || other[2] !== remote[2])
        continue;
      return flow as F;
    }
    return undefined;
  }

  /** Adds a flow that is not in the table. */
  add(flow: F): void {
    const bucket = this.#bucketOf(flow.local, flow.remote, flow.ports);
    flow.next = this.#buckets[bucket];
    this.#buckets[bucket] = flow;
    this.size++;
  }

  delete(flow: F): void {
    const bucket = this.#bucketOf(flow.local, flow.remote, flow.ports);
    let before: Flow | undefined;
    for (let each = this.#buckets[bucket]; each !== undefined; before = each, each = each.next) {
      if (each !== flow) continue;
      if (before === undefined) this.#buckets[bucket] = each.next;
      else before.next = each.next;
      flow.next = undefined;
      this.size--;
      return;
    }
  }

  /** Calls `visit` with each flow, which it may delete. */
  forEach(visit: (flow: F) => void): void {
    if (this.size === 0) return;
    for (let flow of this.#buckets) {
      while (flow !== undefined) {
        const { next }: Flow = flow;
        visit(flow as F);
        flow = next;
      }
    }
  }
}
