// Parsers of network options: rules for outbound connections, and entries of /etc/hosts.
import { isIP, isIPv4, isIPv6 } from 'node:net';
import type { NetworkRule } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';

/**
 * Docker's name for the host. The gateway's address leads to services on the host's loopback
 * interface.
 */
const HOST_GATEWAY = 'host-gateway';

const MAX_PORT = 65535;

/**
 * Parses a rule: `10.0.0.0/8`, `192.0.2.7:443`, `[2001:db8::/32]:80-90`, `example.com:443`,
 * `*.example.com` or `host-gateway:80`.
 * @param gateway the address that `host-gateway` stands for
 * @throws SandboxError `bad-spec`
 */
export function parseRule(text: string, allow: boolean, gateway: string): NetworkRule {
  const fail = (why: string): never => {
    throw new SandboxError('bad-spec', `invalid network rule '${text}': ${why}`);
  };
  const { host, ports } = splitPorts(text);
  const rule: NetworkRule = { allow };
  if (ports !== undefined) {
    rule.ports = parsePortRange(ports) ?? fail(`'${ports}' is no port or range of ports`);
  }
  if (host === HOST_GATEWAY) return { ...rule, range: gateway };
  const [address = '', length] = host.split('/', 2);
  if (isIP(address) !== 0 && !address.includes('%')) {
    const bits = isIPv4(address) ? 32 : 128;
    if (length !== undefined && !isPrefix(host.slice(address.length + 1), bits)) {
      fail(`'${host}' is no range of addresses, which ends in a number of bits from 0 to ${bits}`);
    }
    if (isLoopback(address)) fail(`${address} is the container itself; ${HOST_GATEWAY} is the host`);
    return { ...rule, range: host };
  }
  // Digits and dots are a mistyped address, not a name.
  if (/^[\d./]+$/.test(host) || host.includes('/') || host.includes(':')) fail(`'${host}' is no range of addresses`);
  if (!isName(host.replace(/^\*\./, ''))) fail(`'${host}' is no name of a host`);
  return { ...rule, name: host.toLowerCase().replace(/\.$/, '') };
}

function isLoopback(address: string): boolean {
  return /^127\./.test(address) || address === '::1';
}

function isPrefix(text: string, bits: number): boolean {
  return /^\d{1,3}$/.test(text) && Number(text) <= bits;
}

/** Splits at the last colon. An IPv6 address with ports is in brackets. */
function splitPorts(text: string): { host: string; ports: string | undefined } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/s.exec(text);
  if (bracketed !== null) {
    const [, host = '', ports] = bracketed;
    return { host, ports };
  }
  const [address = ''] = text.split('/');
  if (isIPv6(address)) return { host: text, ports: undefined };
  const colon = text.lastIndexOf(':');
  return colon < 0 ? { host: text, ports: undefined } : { host: text.slice(0, colon), ports: text.slice(colon + 1) };
}

/** The first and last port of `80` or `80-90`; undefined for other texts. */
export function parsePortRange(text: string): [number, number] | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
  return first >= 1 && first <= last && last <= MAX_PORT ? [first, last] : undefined;
}

/** Returns true for names of RFC 1123, and for names with underscores, which occur in practice. */
export function isName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\.?$/i.test(text);
}

export interface HostName {
  name: string;
  address: string;
}

/**
 * Parses an entry of /etc/hosts: `name:address` or `name=address`. The address may be
 * `host-gateway`.
 * @throws SandboxError `bad-spec`
 */
export function parseHostName(text: string, gateway: string): HostName {
  const [, name = '', word = ''] = /^([^:=]*)[:=](.*)$/s.exec(text) ?? [];
  const address = word === HOST_GATEWAY ? gateway : word.replace(/^\[(.*)\]$/, '$1');
  if (!isName(name) || isIP(address) === 0) {
    throw new SandboxError('bad-spec', `invalid host '${text}': NAME:ADDRESS or NAME:${HOST_GATEWAY} is needed`);
  }
  return { name, address };
}
