// The network options of a run spec: their type and their checks.
import { isIPv4, isIPv6 } from 'node:net';
import type { NetworkRule } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { type HostName, isName, parseHostName, parseRule } from './network-rules.js';
import { parseExposed, parsePublished } from './published-ports.js';

/** Prefix of the mode that names a tap interface of the host. */
export const TAP = 'tap:';
/** The mode of a container that is in no private network: it reaches the outside. */
export const OUTSIDE = 'default';
const DEFAULT_NAMES = [OUTSIDE, 'bridge', 'passt'];
/** Stands for the gateway's address where options are only checked. */
const ANY_ADDRESS = '0.0.0.0';
export const DEFAULT_MAX_CONNECTIONS = 16_384;
/** The network device keeps some 50 bytes for each (vmm/devices/net/flows.ts). */
const MAX_CONNECTIONS = 2 ** 20;

export interface NetworkOptions {
  /**
   * `none`, `default`, `tap:INTERFACE`, or the name of a private network. Default: `default`. Docker's
   * `bridge` is `default` too, and so is `passt`, its former name.
   */
  mode?: string;
  /** `[[IP:][HOST]:]GUEST[/udp]`, with ports or ranges. Without HOST, a free port of the host. */
  publish?: readonly string[];
  /** If true, all ports of the image and of `expose` are published at free ports of the host. */
  publishAll?: boolean;
  /** Ports that the container serves besides those of its image: `80`, `53/udp`, `8000-8010`. */
  expose?: readonly string[];
  /** Name servers instead of the host's. */
  dns?: readonly string[];
  /** Domains in which names are looked up, instead of the host's; `.` for none. */
  dnsSearch?: readonly string[];
  /** Options of resolv.conf(5) instead of the host's: `ndots:2`. */
  dnsOptions?: readonly string[];
  /** Entries of /etc/hosts: `name:address`, `name:host-gateway`. */
  hosts?: readonly string[];
  /**
   * Destinations that the container may connect to: `CIDR`, `name` or `host-gateway`, each with or
   * without `:port`.
   */
  allow?: readonly string[];
  deny?: readonly string[];
  /** Connections with the outside that may be open at once: 1 to 1048576. Default: 16384. */
  maxConnections?: number;
  /** Bytes that the container may send in a second, and receive. Default: no limit. */
  bytesPerSecond?: number;
  /** Packets that it may send in a second, and receive. Default: no limit. */
  packetsPerSecond?: number;
  /** Further names of the container in its private network. */
  aliases?: readonly string[];
  /** MAC address: `02:00:00:00:00:01`. The first byte is even. */
  mac?: string;
}

/**
 * Checks all options.
 * @throws SandboxError `bad-spec`
 */
export function checkNetwork(options: NetworkOptions): void {
  const mode = networkMode(options);
  const { mac, aliases = [], maxConnections = DEFAULT_MAX_CONNECTIONS } = options;
  if (!/^(none|default|tap:[^\s/]{1,15})$/.test(mode) && !isNetworkName(mode)) {
    throw new SandboxError('bad-spec', `invalid network '${mode}': none, default, tap:INTERFACE or a name is needed`);
  }
  if (mac !== undefined && !/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new SandboxError('bad-spec', `invalid MAC address '${mac}': six bytes are needed, the first of them even`);
  }
  if (!Number.isInteger(maxConnections) || maxConnections < 1 || maxConnections > MAX_CONNECTIONS) {
    throw new SandboxError(
      'bad-spec',
      `invalid number of connections ${maxConnections}: 1 to ${MAX_CONNECTIONS} are possible`,
    );
  }
  for (const rate of [options.bytesPerSecond, options.packetsPerSecond]) {
    if (rate !== undefined && !(Number.isSafeInteger(rate) && rate >= 1)) {
      throw new SandboxError('bad-spec', `invalid rate ${rate} of the network: at least 1 in a second is needed`);
    }
  }
  for (const address of options.dns ?? []) {
    if (!isIPv4(address) && !isIPv6(address)) {
      throw new SandboxError('bad-spec', `invalid name server '${address}': an IP address is needed`);
    }
  }
  const domain = options.dnsSearch?.find((text) => text !== '.' && !isName(text));
  if (domain !== undefined) throw new SandboxError('bad-spec', `invalid search domain '${domain}'`);
  const option = options.dnsOptions?.find((text) => !/^[a-z0-9-]+(:\d+)?$/.test(text));
  if (option !== undefined) {
    throw new SandboxError('bad-spec', `invalid option '${option}' of the resolver: NAME or NAME:N is needed`);
  }
  checkAliases(aliases);
  if (aliases.length > 0 && !isNetworkName(mode)) {
    throw new SandboxError('bad-spec', 'network-scoped aliases are only supported for user-defined networks');
  }
  hostNames(options, ANY_ADDRESS);
  networkRules(options, ANY_ADDRESS);
  const ports = (options.publish ?? []).map(parsePublished);
  (options.expose ?? []).map(parseExposed);
  if ((mode === 'none' || mode.startsWith(TAP)) && (ports.length > 0 || options.publishAll)) {
    throw new SandboxError('bad-spec', `ports cannot be published with --network ${mode}`);
  }
}

/** @throws SandboxError `bad-spec` for an invalid host name */
export function checkAliases(aliases: readonly string[]): void {
  const bad = aliases.find((alias) => !isName(alias));
  if (bad !== undefined) throw new SandboxError('bad-spec', `invalid network alias '${bad}': a host's name is needed`);
}

/** The entries that the caller adds to /etc/hosts. @throws SandboxError `bad-spec` */
export function hostNames({ hosts = [] }: NetworkOptions, gateway: string): HostName[] {
  return hosts.map((text) => parseHostName(text, gateway));
}

/** The rules of the options. Those of `deny` come first. @throws SandboxError `bad-spec` */
export function networkRules({ allow = [], deny = [] }: NetworkOptions, gateway: string): NetworkRule[] {
  return [
    ...deny.map((text) => parseRule(text, false, gateway)),
    ...allow.map((text) => parseRule(text, true, gateway)),
  ];
}

/** Returns true if the text can name a private network. Modes, ours and Docker's, are reserved. */
export function isNetworkName(word: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}$/.test(word) && !['none', 'host', ...DEFAULT_NAMES].includes(word);
}

/** The mode in today's words. Absent options, and what an older record says, are the default. */
export function networkMode({ mode = OUTSIDE }: NetworkOptions = {}): string {
  return DEFAULT_NAMES.includes(mode) ? OUTSIDE : mode;
}
