// The words of a run spec that are about the network: their type, and their checks.
import { isIPv4, isIPv6 } from 'node:net';
import type { NetworkRule } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { type HostName, isName, parseHostName, parseRule } from './network-rules.js';
import { parseExposed, parsePublished } from './published-ports.js';

/** Begins the mode that names a tap interface of the host. */
export const TAP = 'tap:';
/** Stands for the gateway where words are only checked. */
const ANY_ADDRESS = '0.0.0.0';

export interface NetworkOptions {
  /** `none`, `passt`, `tap:INTERFACE`, or the name of a private network. Absent: `passt` where it can be had, else none. */
  mode?: string;
  /** `[[IP:][HOST]:]GUEST[/udp]`, ports or ranges of them; without HOST any that is free. */
  publish?: readonly string[];
  /** Publish all ports that the image or `expose` names, each at a port that is free. */
  publishAll?: boolean;
  /** `80`, `53/udp`, `8000-8010`: ports that the container serves, beside those of its image. */
  expose?: readonly string[];
  /** Name servers instead of the host's. */
  dns?: readonly string[];
  /** Lines for /etc/hosts: `name:address`, `name:host-gateway`. */
  hosts?: readonly string[];
  /** Where the container may connect to: `CIDR`, `name` or `host-gateway`, each with `:port` or without. */
  allow?: readonly string[];
  deny?: readonly string[];
  /** Further names in its private networks. */
  aliases?: readonly string[];
  /** `02:00:00:00:00:01`; the first byte even. */
  mac?: string;
}

/**
 * Checks all words before anything is started.
 * @throws SandboxError `bad-spec`
 */
export function checkNetwork(options: NetworkOptions): void {
  const { mode = 'passt', mac, aliases = [] } = options;
  if (!/^(none|passt|tap:[^\s/]{1,15})$/.test(mode) && !isNetworkName(mode)) {
    throw new SandboxError('bad-spec', `invalid network '${mode}': none, passt, tap:INTERFACE or a name is needed`);
  }
  if (mac !== undefined && !/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new SandboxError('bad-spec', `invalid MAC address '${mac}': six bytes are needed, the first of them even`);
  }
  for (const address of options.dns ?? []) {
    if (!isIPv4(address) && !isIPv6(address)) {
      throw new SandboxError('bad-spec', `invalid name server '${address}': an IP address is needed`);
    }
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

/** @throws SandboxError `bad-spec` for what is no name that a container could have in a network */
export function checkAliases(aliases: readonly string[]): void {
  const bad = aliases.find((alias) => !isName(alias));
  if (bad !== undefined) throw new SandboxError('bad-spec', `invalid network alias '${bad}': a host's name is needed`);
}

/** The names that the caller adds to /etc/hosts. @throws SandboxError `bad-spec` */
export function hostNames({ hosts = [] }: NetworkOptions, gateway: string): HostName[] {
  return hosts.map((text) => parseHostName(text, gateway));
}

/** The rules that the caller gives: what is denied comes first. @throws SandboxError `bad-spec` */
export function networkRules({ allow = [], deny = [] }: NetworkOptions, gateway: string): NetworkRule[] {
  return [
    ...deny.map((text) => parseRule(text, false, gateway)),
    ...allow.map((text) => parseRule(text, true, gateway)),
  ];
}

/** Whether the word names a private network, rather than being one of our own. */
export function isNetworkName(word: string): boolean {
  return (
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}$/.test(word) && !['none', 'passt', 'host', 'bridge', 'default'].includes(word)
  );
}
