// What the host's kernel answers to: addresses on any interface, and ranges that lead to the host itself. They change while
// a guest runs (an address of another network, the temporary ones of RFC 8981), and a new one is as closed as the others.
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { type AddressRange, parseRange } from './address.js';

export const FIB_TRIE = '/proc/net/fib_trie';
const IPV6_ROUTE = '/proc/net/ipv6_route';
/** linux/ipv6_route.h */
const RTF_LOCAL = 0x80000000;
/** Seconds that what was read is held for true; where there are routes without end, so many times what it took to read. */
const PATIENCE = 1;
const PATIENCE_FACTOR = 50;

export class HostAddresses {
  #ranges: readonly AddressRange[] = [];
  #heldUntil = Number.NEGATIVE_INFINITY;

  /** @param now in seconds */
  ranges(now: number): readonly AddressRange[] {
    if (now < this.#heldUntil) return this.#ranges;
    const began = performance.now();
    this.#ranges = [...localAddresses(read(FIB_TRIE)), ...localAddresses6(read(IPV6_ROUTE))].map(parseRange);
    const seconds = (performance.now() - began) / 1000;
    this.#heldUntil = now + Math.max(PATIENCE, PATIENCE_FACTOR * seconds);
    return this.#ranges;
  }
}

/** Of `/proc/net/fib_trie`: an address, and below it `/32 host LOCAL`; a range has fewer bits. */
export function localAddresses(trie: string): string[] {
  const found = new Set<string>();
  let address = '';
  for (const line of trie.split('\n')) {
    address = /\|-- (\S+)/.exec(line)?.[1] ?? address;
    const bits = /^\s*\/(\d+) \S+ LOCAL/.exec(line)?.[1];
    if (bits !== undefined) found.add(bits === '32' ? address : `${address}/${bits}`);
  }
  return [...found].filter((each) => isIP(each.split('/')[0]) === 4);
}

/** Of `/proc/net/ipv6_route`: those whose flags, in the ninth column, say that they lead to the host itself. */
export function localAddresses6(routes: string): string[] {
  return routes.split('\n').flatMap((line) => {
    const [destination, bits, , , , , , , flags] = line.trim().split(/\s+/);
    if (flags === undefined || (Number.parseInt(flags, 16) & RTF_LOCAL) === 0) return [];
    const address = destination.replace(/(.{4})(?=.)/g, '$1:');
    const prefix = Number.parseInt(bits, 16);
    return [prefix === 128 ? address : `${address}/${prefix}`];
  });
}

/** The text of a file; nothing where there is none: a kernel without IPv6 has no such routes. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
