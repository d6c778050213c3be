// The parts of the host's network that a container's network depends on: default routes, resolvers,
// tap interfaces.
import { readFileSync } from 'node:fs';
import { isIP, isIPv4 } from 'node:net';
import { readLocalAddresses } from '../../vmm/local-addresses.js';

/** A tap interface of the host that leads to a guest. */
export interface TapInterface {
  /** The host's IPv4 address on the interface: the guest's gateway. */
  address: string;
  prefix: number;
  mac: string;
  mtu: number;
}

export interface HostNetwork {
  /** The interface of the default route, by IPv4 and by IPv6. */
  ipv4: string | undefined;
  ipv6: string | undefined;
  resolver: Resolver;
}

export interface Resolver {
  nameservers: string[];
  /** The other lines of /etc/resolv.conf: `search`, `domain`, `options`. */
  settings: string[];
}

const ROUTE = '/proc/net/route';
const IPV6_ROUTE = '/proc/net/ipv6_route';
const RESOLV_CONF = '/etc/resolv.conf';
/**
 * systemd-resolved lists its upstream servers here. Its own address is on the loopback interface.
 */
const UPSTREAM_RESOLV_CONF = '/run/systemd/resolve/resolv.conf';

export function readHostNetwork(): HostNetwork {
  return {
    ipv4: defaultInterface(read(ROUTE)),
    ipv6: defaultInterface6(read(IPV6_ROUTE)),
    resolver: hostResolver(read(RESOLV_CONF), () => read(UPSTREAM_RESOLV_CONF)),
  };
}

/**
 * An interface that is up and has an IPv4 address; otherwise undefined. A tap interface without
 * carrier counts: no process may have opened it yet.
 */
export function readInterface(name: string): TapInterface | undefined {
  const found = connectedAddress(name, read(ROUTE), readLocalAddresses());
  if (found === undefined) return undefined;
  const about = (file: string) => read(`/sys/class/net/${name}/${file}`).trim();
  return { ...found, mac: about('address'), mtu: Number(about('mtu')) };
}

/**
 * The host's address and prefix length in the network that `/proc/net/route` connects to an
 * interface.
 *
 * @param routes text of `/proc/net/route`
 * @param addresses all addresses of the host
 */
export function connectedAddress(
  name: string,
  routes: string,
  addresses: readonly string[],
): Pick<TapInterface, 'address' | 'prefix'> | undefined {
  for (const line of routes.split('\n')) {
    const [found, destination = '', gateway, , , , , mask = ''] = line.trim().split(/\s+/);
    if (found !== name || gateway !== '00000000' || mask === '00000000') continue;
    const [network, bits] = [addressOf(destination), addressOf(mask)];
    const address = addresses.find((each) => isIPv4(each) && (numberOf(each) & bits) >>> 0 === network);
    if (address !== undefined) return { address, prefix: 32 - Math.log2(2 ** 32 - bits) };
  }
  return undefined;
}

/**
 * An address of `/proc/net/route`, which has its bytes in the host's order, as a number of 32 bits.
 */
function addressOf(hex: string): number {
  return Buffer.from(hex, 'hex').reverse().readUInt32BE();
}

/** An IPv4 address as a number of 32 bits. */
export function numberOf(address: string): number {
  return address.split('.').reduce((number, byte) => number * 256 + Number(byte), 0);
}

/**
 * The interface of the IPv4 default route. `/proc/net/route` (proc(5)): interface, destination,
 * ..., mask in column 8.
 */
export function defaultInterface(routes: string): string | undefined {
  const fields = routes.split('\n').map((line) => line.trim().split(/\s+/));
  return fields.find((route) => route[1] === '00000000' && route[7] === '00000000')?.[0];
}

/**
 * The interface of the IPv6 default route. `/proc/net/ipv6_route`: destination, prefix length, ...,
 * interface in column 10.
 */
export function defaultInterface6(routes: string): string | undefined {
  const fields = routes.split('\n').map((line) => line.trim().split(/\s+/));
  return fields.find((route) => /^0{32}$/.test(route[0] ?? '') && route[1] === '00' && route[9] !== 'lo')?.[9];
}

/**
 * The host's resolver (resolv.conf(5)). If all its name servers are on the loopback interface,
 * their upstream servers replace them, if known.
 *
 * @param text of /etc/resolv.conf
 * @param upstream reads the text of systemd-resolved's own resolv.conf
 */
export function hostResolver(text: string, upstream: () => string): Resolver {
  const resolver = parseResolvConf(text);
  if (resolver.nameservers.length === 0 || resolver.nameservers.some((address) => !isLoopback(address))) {
    return resolver;
  }
  const { nameservers } = parseResolvConf(upstream());
  return nameservers.length === 0 ? resolver : { ...resolver, nameservers };
}

function parseResolvConf(text: string): Resolver {
  const lines = text.split('\n').map((line) => line.replace(/[#;].*/, '').trim());
  return {
    nameservers: lines.flatMap((line) => {
      const address = /^nameserver\s+(\S+)$/.exec(line)?.[1];
      return address !== undefined && isIP(address) !== 0 && !address.includes('%') ? [address] : [];
    }),
    settings: lines.filter((line) => /^(search|domain|options)\s/.test(line)),
  };
}

export function isLoopback(address: string): boolean {
  return isIPv4(address) ? address.startsWith('127.') : address === '::1';
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
