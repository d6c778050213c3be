// What is closed to a guest unless a rule names it: addresses that are not of the public Internet (IANA's special-purpose
// registries, RFC 6890), and those where clouds tell a machine its secrets.
import { type AddressRange, parseRange } from './address.js';

const RANGES = [
  // This network, private use (RFC 1918), shared by carriers, loopback, link-local.
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16'],
  // Protocol assignments, benchmarks (and our own addresses), multicast, reserved and broadcast.
  ...['192.0.0.0/24', '198.18.0.0/15', '224.0.0.0/4', '240.0.0.0/4'],
  // Unspecified, loopback and IPv4-compatible; translations that hide an IPv4 address: NAT64, Teredo, 6to4; discard.
  ...['::/96', '64:ff9b::/96', '64:ff9b:1::/48', '2001::/32', '2002::/16', '100::/64'],
  // Unique local, link-local, site-local, multicast.
  ...['fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
  // Metadata of AWS, Azure, Google and others; of ECS tasks; of Alibaba; Azure's host; AWS by IPv6.
  ...['169.254.169.254', '169.254.170.2', '100.100.100.200', '168.63.129.16', 'fd00:ec2::254'],
];

/**
 * A rule opens an address if the rule's range is within each closed range that has the address: 0.0.0.0/0 opens none of
 * them, 169.254.0.0/16 opens link-local addresses, and metadata is opened by its own address alone.
 * @param more addresses and ranges, of this host
 */
export function closedRanges(more: readonly string[]): AddressRange[] {
  return [...RANGES, ...more].map(parseRange);
}
