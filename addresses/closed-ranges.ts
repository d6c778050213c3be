// Ranges that are closed to a guest unless a rule opens them, and to what a public registry leads
// to: addresses outside the public Internet (IANA's special-purpose registries, RFC 6890), and the
// metadata services of clouds.
import { type AddressRange, isInRange, isWithin, parseRange } from './ip.js';

const RANGES = [
  // This network, private use (RFC 1918), shared by carriers, loopback, link-local.
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16'],
  // Protocol assignments, benchmarks (and our own addresses), multicast, reserved and broadcast.
  ...['192.0.0.0/24', '198.18.0.0/15', '224.0.0.0/4', '240.0.0.0/4'],
  // Relays of 6to4.
  '192.88.99.0/24',
  // All of IPv6 outside 2000::/3, the only global unicast range (RFC 4291, 2.4). That includes
  // IPv4-compatible, translated and NAT64 addresses, which contain an IPv4 address, and all future
  // assignments.
  ...['::/3', '4000::/2', '8000::/1'],
  // From 2000::/3: protocol assignments, which include Teredo, and 6to4.
  ...['2001::/23', '2002::/16'],
  // Unspecified and loopback, NAT64, discard; unique local, link-local, site-local, multicast: a
  // rule of more than one of these opens none of them.
  ...['::/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
  // Metadata of AWS, Azure, Google and others; of ECS tasks; of Alibaba; Azure's host; AWS by IPv6.
  ...['169.254.169.254', '169.254.170.2', '100.100.100.200', '168.63.129.16', 'fd00:ec2::254'],
].map(parseRange);

/** An interface identifier of ISATAP (RFC 5214, 6.1) without its universal/local bit. */
const ISATAP = 0x00005efe;
const ISATAP_UNIVERSAL = 0x02000000;

/**
 * Returns the closed ranges that contain the address. A rule opens the address if the rule's range
 * is within each of them: 0.0.0.0/0 opens nothing, 169.254.0.0/16 opens link-local addresses except
 * the metadata service, and only the metadata service's own address opens that.
 * @param more further closed ranges: the host's own
 */
export function closedRanges(words: Uint32Array, more: readonly AddressRange[]): AddressRange[] {
  const closed = [...RANGES, ...more].filter((range) => isInRange(range, words));
  // A tunnel end point, whose address contains an IPv4 address, under any prefix.
  if ((words[2]! & ~ISATAP_UNIVERSAL) === ISATAP) closed.push({ address: words, prefix: 128 });
  return closed;
}

/** Returns true if the address is on the public Internet. */
export function isPublic(words: Uint32Array): boolean {
  return closedRanges(words, []).length === 0;
}

/** Returns true if all of the range is closed, whatever else is. */
export function isClosedRange(range: AddressRange): boolean {
  return RANGES.some((closed) => isWithin(range, closed));
}
