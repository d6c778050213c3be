// What a caller says of where a container may connect to and of the names it knows, as words and checked once.
import { isIP, isIPv4, isIPv6 } from 'node:net';
import type { NetworkRule } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';

/** Docker's word for the host: its services on the loopback interface, at the gateway's address. */
const HOST_GATEWAY = 'host-gateway';

const MAX_PORT = 65535;

/**
 * A rule of `10.0.0.0/8`, `192.0.2.7:443`, `[2001:db8::/32]:80-90`, `example.com:443`, `*.example.com` or `host-gateway:80`.
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
  // A number with dots is an address that went wrong, not a name.
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

/** What is before the last colon, of an IPv6 address within brackets, and what is behind it. */
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

/** The first and the last of `80` or `80-90`; undefined for what is neither. */
export function parsePortRange(text: string): [number, number] | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
  return first >= 1 && first <= last && last <= MAX_PORT ? [first, last] : undefined;
}

/** RFC 1123 names, and underscores, which are met. */
export function isName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\.?$/i.test(text);
}

export interface HostName {
  name: string;
  address: string;
}

/**
 * A line for /etc/hosts of `name:address` or `name=address`, `host-gateway` being an address too.
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
