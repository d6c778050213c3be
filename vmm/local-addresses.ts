// The addresses that the host's kernel answers to, read from procfs. They change while a guest
// runs.
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

const FIB_TRIE = '/proc/net/fib_trie';
const IPV6_ROUTE = '/proc/net/ipv6_route';
/** linux/ipv6_route.h */
const RTF_LOCAL = 0x80000000;

/**
 * Returns the IPv4 addresses of all interfaces, and the ranges that lead to the host itself
 * (`127.0.0.0/8`).
 */
export function readLocalAddresses(): string[] {
  return parseLocalAddresses(read(FIB_TRIE));
}

/** Returns the IPv6 addresses and ranges of the same kinds. */
export function readLocalAddresses6(): string[] {
  return parseLocalAddresses6(read(IPV6_ROUTE));
}

/**
 * Parses `/proc/net/fib_trie`. A line with an address is followed by `/32 host LOCAL`. A range has
 * fewer bits.
 */
export function parseLocalAddresses(trie: string): string[] {
  const found = new Set<string>();
  let address = '';
  for (const line of trie.split('\n')) {
    address = /\|-- (\S+)/.exec(line)?.[1] ?? address;
    const bits = /^\s*\/(\d+) \S+ LOCAL/.exec(line)?.[1];
    if (bits !== undefined) found.add(bits === '32' ? address : `${address}/${bits}`);
  }
  return [...found].filter((each) => isIP(each.replace(/\/.*/, '')) === 4);
}

/** Parses `/proc/net/ipv6_route`: takes the routes whose flags (ninth column) have RTF_LOCAL. */
export function parseLocalAddresses6(routes: string): string[] {
  return routes.split('\n').flatMap((line) => {
    const [destination = '', bits = '', , , , , , , flags] = line.trim().split(/\s+/);
    if (flags === undefined || (Number.parseInt(flags, 16) & RTF_LOCAL) === 0) return [];
    const address = destination.replace(/(.{4})(?=.)/g, '$1:');
    const prefix = Number.parseInt(bits, 16);
    return [prefix === 128 ? address : `${address}/${prefix}`];
  });
}

/** Returns the text of a file; empty if it is missing. A kernel without IPv6 has no such file. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
