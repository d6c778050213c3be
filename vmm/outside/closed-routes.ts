// Which of the host's routes lead to its own surroundings rather than to the public Internet: the
// links that it is on, its VPNs, whatever has a route more specific than the default.
import { isClosedRange } from '../../addresses/closed-ranges.js';
import { type AddressRange, isInRange, parseRange } from '../../addresses/ip.js';
import { type Route, RTN_ANYCAST, RTN_BROADCAST, RTN_LOCAL, RTN_UNICAST } from './host-routes.js';

const IPV4_OFFSET = 96;
const GLOBAL_UNICAST = parseRange('2000::/3');
/**
 * A shorter prefix is more than anyone's network: IANA allocates at most a /8 of IPv4, and a /12 of
 * IPv6. Such a route is a part of the default: 0.0.0.0/1 and 128.0.0.0/1 of VPNs, 2000::/3.
 */
const LONGEST_DEFAULT = { ipv4: IPV4_OFFSET + 7, ipv6: 11 };

/**
 * The ranges that these routes close: each address that the host's kernel answers to, and each range
 * that is not a part of the default.
 */
export function closedByRoutes(routes: readonly Route[]): AddressRange[] {
  const isSpecific = ({ range, isIPv4 }: Route) =>
    range.prefix > (isIPv4 ? LONGEST_DEFAULT.ipv4 : LONGEST_DEFAULT.ipv6);
  // A transparent proxy of the host has local routes for everything, in a table of its own.
  const own = routes.filter((route) => (route.type === RTN_LOCAL || route.type === RTN_ANYCAST) && isSpecific(route));
  const unicast = routes.filter(({ type }) => type === RTN_UNICAST);
  const defaults = partsOfDefault(unicast);
  const others = [...unicast, ...routes.filter(({ type }) => type === RTN_BROADCAST)]
    .filter((route) => isSpecific(route) && !defaults.has(route))
    .map(({ range }) => range)
    // A rule for a closed range opens the links within it too.
    .filter((range) => !isClosedRange(range));
  return [...own.map(({ range }) => range), ...outermost(others, (range) => range)];
}

/**
 * A VPN may take the default in many parts, all but some ranges. Routes that lead the same way and
 * cover half of all addresses together are parts of a default, except those within another.
 */
function partsOfDefault(routes: readonly Route[]): Set<Route> {
  const ways = new Map<string, Route[]>();
  for (const route of routes) {
    const way = `${route.isIPv4} ${route.way}`;
    const group = ways.get(way);
    if (group === undefined) ways.set(way, [route]);
    else group.push(route);
  }
  const parts = new Set<Route>();
  for (const group of ways.values()) {
    const outer = outermost(group, ({ range }) => range);
    const share = outer.reduce((sum, route) => sum + shareOf(route), 0);
    if (share >= 0.5) for (const route of outer) parts.add(route);
  }
  return parts;
}

/** The share of all addresses, of IPv6 the global unicast ones, that a route covers. */
function shareOf({ range, isIPv4 }: Route): number {
  if (isIPv4) return 2 ** (IPV4_OFFSET - range.prefix);
  if (range.prefix <= GLOBAL_UNICAST.prefix) return isInRange(range, GLOBAL_UNICAST.address) ? 1 : 0;
  return isInRange(GLOBAL_UNICAST, range.address) ? 2 ** (GLOBAL_UNICAST.prefix - range.prefix) : 0;
}

/** The items whose ranges are within no other item's; of equal ones the first. */
function outermost<Item>(items: readonly Item[], rangeOf: (item: Item) => AddressRange): Item[] {
  const sorted = [...items].sort((one, other) => compare(rangeOf(one), rangeOf(other)));
  const outer: Item[] = [];
  for (const item of sorted) {
    const last = outer.at(-1);
    const { address, prefix } = rangeOf(item);
    if (last === undefined || prefix < rangeOf(last).prefix || !isInRange(rangeOf(last), address)) outer.push(item);
  }
  return outer;
}

/** By address, and then the widest first. */
function compare(one: AddressRange, other: AddressRange): number {
  for (let word = 0; word < 4; word++) {
    if (one.address[word] !== other.address[word]) return one.address[word]! - other.address[word]!;
  }
  return one.prefix - other.prefix;
}
