// What of the host's own network matters to a container's: its routes, its resolvers, an interface of its own.
import { readFileSync } from 'node:fs';
import { isIP, isIPv4 } from 'node:net';
import { readLocalAddresses } from '../../vmm/local-addresses.js';

/** An interface of the host that leads to a guest. */
export interface TapInterface {
  /** The host's on it, the guest's gateway. */
  address: string;
  prefix: number;
  mac: string;
  mtu: number;
}

export interface HostNetwork {
  /** The interfaces that lead out by IPv4, and by IPv6. */
  ipv4: string | undefined;
  ipv6: string | undefined;
  resolver: Resolver;
}

export interface Resolver {
  nameservers: string[];
  /** Lines of /etc/resolv.conf that are not about name servers: `search`, `options`. */
  settings: string[];
}

const ROUTE = '/proc/net/route';
const IPV6_ROUTE = '/proc/net/ipv6_route';
const RESOLV_CONF = '/etc/resolv.conf';
/** Where systemd-resolved says whom it asks itself; its own address is on the loopback interface. */
const UPSTREAM_RESOLV_CONF = '/run/systemd/resolve/resolv.conf';

export function readHostNetwork(): HostNetwork {
  return {
    ipv4: defaultInterface(read(ROUTE)),
    ipv6: defaultInterface6(read(IPV6_ROUTE)),
    resolver: hostResolver(read(RESOLV_CONF), () => read(UPSTREAM_RESOLV_CONF)),
  };
}

/** An interface that is up and has an IPv4 address, or undefined. Nobody need have opened it: it may have no carrier. */
export function readInterface(name: string): TapInterface | undefined {
  const found = connectedAddress(name, read(ROUTE), readLocalAddresses());
  if (found === undefined) return undefined;
  const about = (file: string) => read(`/sys/class/net/${name}/${file}`).trim();
  return { ...found, mac: about('address'), mtu: Number(about('mtu')) };
}

/** The host's address in the network that an interface of `/proc/net/route` leads to, and how many bits that has. */
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

/** A number of `/proc/net/route`, which has the bytes as they are in memory. */
function addressOf(hex: string): number {
  return Buffer.from(hex, 'hex').reverse().readUInt32BE();
}

/** An IPv4 address as a number of 32 bits. */
export function numberOf(address: string): number {
  return address.split('.').reduce((number, byte) => number * 256 + Number(byte), 0);
}

/** Of proc(5)'s `/proc/net/route`: interface, destination, ..., mask in the eighth column. */
export function defaultInterface(routes: string): string | undefined {
  const fields = routes.split('\n').map((line) => line.trim().split(/\s+/));
  return fields.find((route) => route[1] === '00000000' && route[7] === '00000000')?.[0];
}

/** Of `/proc/net/ipv6_route`: destination, its prefix length, ..., interface in the tenth column. */
export function defaultInterface6(routes: string): string | undefined {
  const fields = routes.split('\n').map((line) => line.trim().split(/\s+/));
  return fields.find((route) => /^0{32}$/.test(route[0] ?? '') && route[1] === '00' && route[9] !== 'lo')?.[9];
}

/** resolv.conf(5), with the upstream servers of one that is on the loopback interface, where they are known. */
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
