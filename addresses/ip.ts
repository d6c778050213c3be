// Addresses as four 32-bit words, most significant first: IPv6's own, and IPv4's as IPv6 maps them
// (RFC 4291, 2.5.5.2), so that one comparison serves both.
import { isIPv4 } from 'node:net';

/**
 * Four words of an IPv6 or mapped IPv4 address. Functions that are given words and `at` read the
 * four from there.
 */
export type Address = Uint32Array;

const IPV4_MAPPED = 0xffff;
const IPV4_OFFSET = 96;

/** A range of addresses: those that begin with the first `prefix` bits of `address`. */
export interface AddressRange {
  address: Address;
  /** 0 to 128; an IPv4 prefix is counted from bit 96 on. */
  prefix: number;
}

/**
 * Without Node.js' pattern of an IPv6 address: each start of a program would compile it for the ranges
 * that the program knows, which takes as long as a fifth of the start of Node.js.
 * @throws RangeError for text that is not an IP address
 */
export function parseAddress(text: string): Address {
  if (isIPv4(text)) return Uint32Array.of(0, 0, IPV4_MAPPED, ipv4Word(text));
  const [head = '', tail, ...rest] = text.split('::');
  const first = groups(head, tail === undefined);
  const last = tail === undefined ? [] : groups(tail, true);
  const missing = 8 - (first?.length ?? 0) - (last?.length ?? 0);
  const isWhole = tail === undefined ? missing === 0 : missing > 0 && rest.length === 0;
  if (first === undefined || last === undefined || !isWhole) throw new RangeError(`not an IP address: ${text}`);
  const words = new Uint32Array(4);
  for (const [at, group] of [...first, ...new Array<number>(missing).fill(0), ...last].entries()) {
    words[at >> 1] = words[at >> 1]! * 0x10000 + group;
  }
  return words;
}

function ipv4Word(text: string): number {
  return text.split('.').reduce((word, byte) => word * 256 + Number(byte), 0);
}

/**
 * Returns the 16-bit groups of a part of an IPv6 address; undefined for another text.
 * @param isLast it may end in IPv4 notation
 */
function groups(text: string, isLast: boolean): number[] | undefined {
  if (text === '') return [];
  const found: number[] = [];
  const parts = text.split(':');
  for (const [at, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      found.push(Number.parseInt(part, 16));
    } else if (isLast && at === parts.length - 1 && isIPv4(part)) {
      const word = ipv4Word(part);
      found.push(word >>> 16, word & 0xffff);
    } else {
      return undefined;
    }
  }
  return found;
}

/** Parses `10.0.0.0/8`, `2001:db8::/32`, or a single address. @throws RangeError */
export function parseRange(text: string): AddressRange {
  const [base = '', length, ...rest] = text.split('/');
  const address = parseAddress(base);
  const [offset, bits] = isIPv4(base) ? ([IPV4_OFFSET, 32] as const) : ([0, 128] as const);
  const prefix = length === undefined ? bits : Number(length);
  if (rest.length > 0 || (length !== undefined && !/^\d{1,3}$/.test(length)) || prefix > bits) {
    throw new RangeError(`not a range of addresses: ${text}`);
  }
  return { address, prefix: offset + prefix };
}

/**
 * Returns true if the range contains the address at `at`. A range of IPv6 never contains an IPv4
 * address.
 */
export function isInRange({ address, prefix }: AddressRange, words: Uint32Array, at = 0): boolean {
  if (prefix < IPV4_OFFSET && isIPv4Address(words, at)) return false;
  let left = prefix;
  for (let word = 0; left > 0; word++, left -= 32) {
    const different = words[at + word]! ^ address[word]!;
    if (left >= 32 ? different !== 0 : different >>> (32 - left) !== 0) return false;
  }
  return true;
}

/**
 * Returns true if the address is in one of the ranges. Allocates nothing, as it runs for each
 * frame.
 */
export function isInAnyRange(ranges: readonly AddressRange[], words: Uint32Array): boolean {
  for (const range of ranges) if (isInRange(range, words)) return true;
  return false;
}

/** Returns true if `outer` contains all of `inner`. */
export function isWithin(inner: AddressRange, outer: AddressRange): boolean {
  return inner.prefix >= outer.prefix && isInRange(outer, inner.address);
}

export function isSameAddress(address: Address, words: Uint32Array, at = 0): boolean {
  for (let word = 0; word < 4; word++) if (address[word] !== words[at + word]) return false;
  return true;
}

export function isIPv4Address(words: Uint32Array, at = 0): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === IPV4_MAPPED;
}

/**
 * Returns true for an address of fe80::/10.
 * @throws RangeError for text that is not an IP address
 */
export function isLinkLocal(text: string): boolean {
  const [first = 0] = parseAddress(text);
  return first >>> 22 === 0xfe80 >>> 6;
}

/** The address as text. The longest run of zeroes of an IPv6 address becomes `::` (RFC 5952). */
export function formatAddress(words: Uint32Array, at = 0): string {
  if (isIPv4Address(words, at)) {
    const word = words[at + 3]!;
    return [word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff].join('.');
  }
  const all = Array.from({ length: 8 }, (_, group) => (words[at + (group >> 1)]! >>> (group & 1 ? 0 : 16)) & 0xffff);
  const text = all.map((group) => group.toString(16)).join(':');
  const zeroes = (`:${text}:`.match(/:(0:)+/g) ?? []).sort((a, b) => b.length - a.length)[0];
  if (zeroes === undefined || zeroes.length < 5) return text;
  return `:${text}:`.replace(zeroes, '::').replace(/^:(?!:)|(?<!:):$/g, '');
}
