// What of the host's own network matters to a container's: its addresses, its routes, its resolvers.
import { readFileSync } from 'node:fs';
import { isIP, isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';

/** An interface of the host that leads to a guest. */
export interface TapInterface {
  /** The host's on it, the guest's gateway. */
  address: string;
  prefix: number;
  mac: string;
  mtu: number;
}

export interface HostNetwork {
  /** All that the host answers to, but for the loopback interface's. */
  addresses: string[];
  /** Whether a route leads out by IPv4, and by IPv6. */
  ipv4: boolean;
  ipv6: boolean;
  resolver: Resolver;
}

export interface Resolver {
  nameservers: string[];
  /** Lines of /etc/resolv.conf that are not about name servers: `search`, `options`. */
  settings: string[];
}

const RESOLV_CONF = '/etc/resolv.conf';
/** Where systemd-resolved says whom it asks itself; its own address is on the loopback interface. */
const UPSTREAM_RESOLV_CONF = '/run/systemd/resolve/resolv.conf';

export function readHostNetwork(): HostNetwork {
  return {
    addresses: Object.values(networkInterfaces()).flatMap((addresses = []) =>
      addresses.filter(({ internal }) => !internal).map(({ address }) => address),
    ),
    ipv4: hasDefaultRoute(read('/proc/net/route')),
    ipv6: hasDefaultRoute6(read('/proc/net/ipv6_route')),
    resolver: hostResolver(read(RESOLV_CONF), () => read(UPSTREAM_RESOLV_CONF)),
  };
}

/** An interface with an IPv4 address, or undefined. */
export function readInterface(name: string): TapInterface | undefined {
  const found = networkInterfaces()[name]?.find(({ family }) => family === 'IPv4');
  if (found === undefined) return undefined;
  const { address, cidr, mac } = found;
  return { address, mac, prefix: Number(cidr?.split('/')[1] ?? 32), mtu: Number(read(`/sys/class/net/${name}/mtu`)) };
}

/** Of proc(5)'s `/proc/net/route`: interface, destination, ..., mask in the eighth column. */
export function hasDefaultRoute(routes: string): boolean {
  return routes.split('\n').some((line) => {
    const fields = line.trim().split(/\s+/);
    return fields[1] === '00000000' && fields[7] === '00000000';
  });
}

/** Of `/proc/net/ipv6_route`: destination, its prefix length, ..., interface in the tenth column. */
export function hasDefaultRoute6(routes: string): boolean {
  return routes.split('\n').some((line) => {
    const fields = line.trim().split(/\s+/);
    return /^0{32}$/.test(fields[0]) && fields[1] === '00' && fields[9] !== 'lo';
  });
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
