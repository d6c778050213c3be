// The addresses that the host's kernel answers to, read from procfs. They change while a guest runs.
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

const FIB_TRIE = '/proc/net/fib_trie';
const IPV6_ROUTE = '/proc/net/ipv6_route';
/** linux/ipv6_route.h */
const RTF_LOCAL = 0x80000000;

/** The IPv4 addresses of all interfaces, and the ranges that lead to the host itself (`127.0.0.0/8`). */
export function readLocalAddresses(): string[] {
  return parseLocalAddresses(read(FIB_TRIE));
}

/** The IPv6 addresses and ranges, likewise. */
export function readLocalAddresses6(): string[] {
  return parseLocalAddresses6(read(IPV6_ROUTE));
}

/** Of `/proc/net/fib_trie`: an address, and below it `/32 host LOCAL`; a range has fewer bits. */
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

/** Of `/proc/net/ipv6_route`: the routes whose flags, in the ninth column, have RTF_LOCAL. */
export function parseLocalAddresses6(routes: string): string[] {
  return routes.split('\n').flatMap((line) => {
    const [destination = '', bits = '', , , , , , , flags] = line.trim().split(/\s+/);
    if (flags === undefined || (Number.parseInt(flags, 16) & RTF_LOCAL) === 0) return [];
    const address = destination.replace(/(.{4})(?=.)/g, '$1:');
    const prefix = Number.parseInt(bits, 16);
    return [prefix === 128 ? address : `${address}/${prefix}`];
  });
}

/** The text of a file; empty if there is none: a kernel without IPv6 has no such routes. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
