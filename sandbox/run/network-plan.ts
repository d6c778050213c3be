// Plans the network of a container: the machine's side, the guest's side, and the addresses. They
// come from 198.19.0.0/16, which is reserved for benchmarks (RFC 2544) and so used by no other
// network.
import { existsSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import type { EgressSpec, NetworkRates, NetworkSpec, PublishedPorts } from '../../vmm/machine.js';
import type { InterfaceSpec } from '../agent/protocol.js';
import { defined } from '../defined.js';
import { SandboxError } from '../errors.js';
import type { ContainerNetworks } from '../home/networks.js';
import { DEFAULT_MAX_CONNECTIONS, type NetworkOptions, networkMode, networkRules, TAP } from '../spec/network.js';
import { imagePorts, parseExposed, parsePublished, publishAll } from '../spec/published-ports.js';
import type { Placeholder } from '../spec/secrets.js';
import { type HostNetwork, isLoopback, numberOf, readInterface } from './host-network.js';

/** Values of each of the last two bytes of an address, counted from 1. */
const ADDRESSES = 254;
const GATEWAY_ADDRESS = '198.19.0.1';
/** Queries to this address go to the host's resolver, if that is on the loopback interface. */
const DNS_ADDRESS = '198.19.0.3';
/** The hosts whose requests get secrets are here, for the guest. */
const EGRESS_ADDRESS = '198.19.0.4';
const GATEWAY_ADDRESS_6 = 'fe80::1';
const INTERFACE = 'eth0';
/** Bytes. The largest IP packet of whole words. */
export const LARGEST_MTU = 65520;
/** Prefix of the containers' IPv6 addresses (unique local, RFC 4193): `tsvm` in ASCII. */
const PREFIX_6 = 'fd74:7376:6d';
/** The ranges of all containers' addresses, IPv4 and IPv6. */
const PEER_RANGES = ['198.19.0.0/16', `${ipv6Of('198.19.0.0')}/112`];

/** The network of one container. */
export interface NetworkPlan {
  machine: NetworkSpec;
  guest: InterfaceSpec;
  /** The IPv4 address, which the container's own name resolves to. */
  address: string;
  /** The address of the host. */
  gateway: string;
  resolvConf: string;
  /** Entries of /etc/hosts: of the hosts whose requests get secrets. */
  hosts: { name: string; address: string }[];
}

/** True if the caller asked for a network. Its failure is then an error, otherwise a warning. */
function isAskedFor({ mode, publish = [], publishAll, dns = [], allow = [] }: NetworkOptions): boolean {
  return mode !== undefined || publish.length > 0 || publishAll === true || dns.length > 0 || allow.length > 0;
}

/** What the plan depends on besides the options. */
export interface Networked {
  /** The container's id, at least 8 hexadecimal digits. The address is derived from it. */
  id: string;
  networks?: ContainerNetworks | undefined;
  /** Ports that the image exposes: `80/tcp`. */
  exposed?: readonly string[];
  placeholders?: readonly Placeholder[] | undefined;
}

/**
 * Plans the network that the options ask for; undefined for mode `none`.
 * @throws SandboxError `bad-spec`, `network` for a tap interface that cannot be used
 */
export function planNetwork(
  options: NetworkOptions,
  host: HostNetwork,
  { id, networks = { peers: [], internal: false }, exposed = [], placeholders = [] }: Networked,
): NetworkPlan | undefined {
  const mode = networkMode(options);
  const isTap = mode.startsWith(TAP);
  if (placeholders.length > 0 && (mode === 'none' || isTap || networks.internal)) {
    throw new SandboxError('bad-spec', 'placeholders of secrets need a network that reaches the outside, and no tap');
  }
  if (mode === 'none') return undefined;
  const endpoint = isTap
    ? tapEndpoint(mode.slice(TAP.length))
    : outsideEndpoint(host.ipv6 !== undefined && !networks.internal, addressFor(id, networks));
  const mac = options.mac?.toLowerCase() ?? macOf(endpoint.address);
  const { nameservers, settings, forward } = resolver(options, host, endpoint.gateways.length > 1);
  const allRules = [...networkRules(options, endpoint.gateway), ...(networks.internal ? NOTHING : [])];
  const allAddresses = [endpoint.address, ...endpoint.ipv6];
  const backEnd = (): NetworkSpec['backEnd'] => {
    if (isTap) return { kind: 'tap', interface: mode.slice(TAP.length) };
    if (networks.internal) return { kind: 'none' };
    return defined({
      kind: 'relay' as const,
      ports: publishedPorts(options, exposed),
      dns: forward === undefined ? undefined : { address: DNS_ADDRESS, resolver: forward },
      egress: egressOf(placeholders),
      reachHost: allRules.some(({ allow, range }) => allow && range === endpoint.gateway),
    });
  };
  return {
    machine: defined({
      mac,
      gatewayMac: endpoint.gatewayMac,
      mtu: endpoint.mtu,
      addresses: [...allAddresses, linkLocal(mac)],
      gateways: endpoint.gateways,
      resolvers: nameservers,
      rules: allRules,
      peerRanges: PEER_RANGES,
      maxConnections: options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
      rates: ratesOf(options),
      optional: !isAskedFor(options) && networks.peers.length === 0,
      peers: isTap ? undefined : networks.peers,
      backEnd: backEnd(),
    }),
    guest: {
      interface: INTERFACE,
      addresses: allAddresses.map((address) => `${address}/${isIPv4(address) ? 32 : 128}`),
      gateways: endpoint.gateways,
    },
    address: endpoint.address,
    gateway: endpoint.gateway,
    hosts: hostsOf(placeholders).map((name) => ({ name, address: EGRESS_ADDRESS })),
    resolvConf: [
      ...nameservers.map((address) => `nameserver ${address}`),
      ...resolverSettings(options, settings),
      // Names of peers have no dots. Without this, the resolver would look them up in the search
      // domains first.
      ...(networks.peers.length > 0 && !options.dnsOptions?.some((text) => text.startsWith('ndots:'))
        ? ['options ndots:0']
        : []),
      '',
    ].join('\n'),
  };
}

const hostsOf = (placeholders: readonly Placeholder[]): string[] => [
  ...new Set(placeholders.flatMap(({ hosts }) => hosts)),
];

function egressOf(placeholders: readonly Placeholder[]): EgressSpec | undefined {
  if (placeholders.length === 0) return undefined;
  const ports = placeholders.some(({ http }) => http) ? [443, 80] : [443];
  return { address: EGRESS_ADDRESS, ports, names: hostsOf(placeholders) };
}

function ratesOf({ bytesPerSecond: bytes, packetsPerSecond: packets }: NetworkOptions): NetworkRates | undefined {
  return bytes === undefined && packets === undefined ? undefined : defined({ bytes, packets });
}

function publishedPorts(options: NetworkOptions, exposed: readonly string[]): PublishedPorts[] {
  const { publish = [], expose = [] } = options;
  const published = publish.map(parsePublished);
  if (!options.publishAll) return published;
  return [...published, ...publishAll([...imagePorts(exposed), ...expose.flatMap(parseExposed)], published)];
}

/**
 * Denies everything outside, for a guest whose networks are all internal: connections are refused
 * at once.
 */
const NOTHING: NetworkSpec['rules'] = ['0.0.0.0/0', '::/0'].map((range) => ({ allow: false, range }));

/**
 * The same address each time for a container, unless a peer has it. 198.19.0.x is for gateway and
 * name server.
 */
function addressFor(id: string, { peers }: ContainerNetworks): string {
  const seed = Number.parseInt(id.slice(0, 8), 16);
  for (let attempt = 0; ; attempt++) {
    const number = (seed + attempt) % (ADDRESSES * ADDRESSES);
    const address = `198.19.${1 + Math.floor(number / ADDRESSES)}.${1 + (number % ADDRESSES)}`;
    if (attempt === ADDRESSES || !peers.some(({ folder }) => existsSync(join(folder, address)))) return address;
  }
}

/** The addresses of a guest and of its gateway. */
interface Endpoint {
  address: string;
  /** IPv6 addresses. */
  ipv6: string[];
  gateway: string;
  gateways: string[];
  gatewayMac: string;
  mtu: number;
}

/** The IPv6 address whose last 32 bits are an IPv4 address. */
function ipv6Of(address: string): string {
  const number = numberOf(address);
  return `${PREFIX_6}::${(number >>> 16).toString(16)}:${(number & 0xffff).toString(16)}`;
}

function outsideEndpoint(ipv6: boolean, address: string): Endpoint {
  return {
    address,
    ipv6: ipv6 ? [ipv6Of(address)] : [],
    gateway: GATEWAY_ADDRESS,
    gateways: ipv6 ? [GATEWAY_ADDRESS, GATEWAY_ADDRESS_6] : [GATEWAY_ADDRESS],
    gatewayMac: macOf(GATEWAY_ADDRESS),
    mtu: LARGEST_MTU,
  };
}

/** On a tap interface the host is the gateway, and the guest has the address after the host's. */
function tapEndpoint(name: string): Endpoint {
  const found = readInterface(name);
  if (found === undefined) {
    throw new SandboxError(
      'network',
      `interface ${name} is down, missing, or has no IPv4 address: bring it up and give it an address`,
    );
  }
  const { address, prefix, mac, mtu } = found;
  const next = numberOf(address) + 1;
  if (prefix > 30 || (next + 1) % 2 ** (32 - prefix) === 0) {
    throw new SandboxError(
      'network',
      `the network ${address}/${prefix} of ${name} has no free address after the host's: choose a lower address for the host`,
    );
  }
  return {
    address: [24, 16, 8, 0].map((shift) => (next >>> shift) & 0xff).join('.'),
    ipv6: [],
    gateway: address,
    gateways: [address],
    gatewayMac: mac,
    mtu: Math.min(mtu, LARGEST_MTU),
  };
}

interface GuestResolver {
  nameservers: string[];
  settings: string[];
  /** The host's resolver, if it is reachable only from the host: queries are forwarded to it. */
  forward: string | undefined;
}

/**
 * As in Docker: the name servers of the options, else the host's, without those on its loopback
 * interface.
 */
function resolver({ dns = [], mode }: NetworkOptions, { resolver: host }: HostNetwork, ipv6: boolean): GuestResolver {
  const { settings } = host;
  if (dns.length > 0) return { nameservers: [...dns], settings, forward: undefined };
  const nameservers = host.nameservers.filter((address) => !isLoopback(address) && (ipv6 || isIPv4(address)));
  const [first] = host.nameservers;
  if (nameservers.length > 0 || first === undefined || mode?.startsWith(TAP)) {
    return { nameservers, settings, forward: undefined };
  }
  return { nameservers: [DNS_ADDRESS], settings, forward: first };
}

/** The lines of resolv.conf besides name servers: the host's, except what the options set. */
function resolverSettings({ dnsSearch = [], dnsOptions = [] }: NetworkOptions, ofHost: readonly string[]): string[] {
  const domains = dnsSearch.filter((domain) => domain !== '.');
  const isKept = (line: string) => (/^options\s/.test(line) ? dnsOptions : dnsSearch).length === 0;
  return [
    ...ofHost.filter(isKept),
    ...(domains.length > 0 ? [`search ${domains.join(' ')}`] : []),
    ...(dnsOptions.length > 0 ? [`options ${dnsOptions.join(' ')}`] : []),
  ];
}

/** A locally administered MAC address that contains the IPv4 address. */
function macOf(address: string): string {
  const bytes = [0x02, 0x74, ...address.split('.').map(Number)];
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/**
 * The link-local address that the guest's kernel derives from a MAC address (RFC 4291, appendix A).
 */
function linkLocal(mac: string): string {
  const [first = 0, second = 0, third = 0, ...rest] = mac.split(':').map((byte) => Number.parseInt(byte, 16));
  const identifier = Buffer.from([first ^ 2, second, third, 0xff, 0xfe, ...rest]);
  const groups = [0, 2, 4, 6].map((at) => identifier.readUInt16BE(at).toString(16));
  return `fe80::${groups.join(':')}`;
}
