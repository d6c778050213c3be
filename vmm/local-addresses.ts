// The IPv4 addresses that the host's kernel answers to, read from procfs.
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

const FIB_TRIE = '/proc/net/fib_trie';

/**
 * Returns the IPv4 addresses of all interfaces, and the ranges that lead to the host itself
 * (`127.0.0.0/8`).
 */
export function readLocalAddresses(): string[] {
  return parseLocalAddresses(read(FIB_TRIE));
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

/** Returns the text of a file; empty if it is missing. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
