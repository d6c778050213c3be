// Counts refused frames, and reports each destination once.

import { formatAddress } from '../../../addresses/ip.js';
import { MAX_REFUSALS, type Refusal, type RefusalCounts, type RefusalReason } from '../../machine.js';
import { ARP, ECHO, ETHERTYPE_IPV6, type Frame, KINDS, NEIGHBOUR, OTHER, TCP, UDP } from './frame.js';

export class RefusalLog {
  readonly counts: RefusalCounts = {};
  readonly #onRefusal: (refusal: Refusal) => void;
  readonly #told = new Set<string>();

  constructor(onRefusal: (refusal: Refusal) => void) {
    this.#onRefusal = onRefusal;
  }

  add(reason: RefusalReason, frame: Frame): void {
    this.counts[reason] = (this.counts[reason] ?? 0) + 1;
    if (this.#told.size === MAX_REFUSALS || isUsual(reason, frame)) return;
    const refusal = describe(reason, frame);
    const key = `${refusal.reason} ${refusal.what} ${refusal.destination}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#onRefusal(refusal);
  }
}

/**
 * Returns true for frames that are not worth a report: a kernel's own, and segments of a connection
 * that has ended.
 */
function isUsual(reason: RefusalReason, frame: Frame): boolean {
  if (reason === 'no-connection' || frame.kind === ARP || frame.kind === NEIGHBOUR) return true;
  // Router solicitations and multicast listener reports.
  return frame.kind === OTHER && frame.etherType === ETHERTYPE_IPV6 && frame.destination[0]! >>> 24 === 0xff;
}

function describe(reason: RefusalReason, frame: Frame): Refusal {
  const what = frame.kind === OTHER ? frame.problem : KINDS[frame.kind]!;
  if (frame.kind === TCP || frame.kind === UDP) {
    const address = formatAddress(frame.destination);
    const host = frame.isIPv4 ? address : `[${address}]`;
    return { reason, what, destination: `${host}:${frame.destinationPort}` };
  }
  if (frame.kind === ECHO) return { reason, what, destination: formatAddress(frame.destination) };
  return { reason, what };
}
