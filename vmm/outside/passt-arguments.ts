// The command line of passt(1).

import { isLinkLocal } from '../../addresses/ip.js';
import type { NetworkSpec, PasstSpec, PublishedPorts } from '../machine.js';

const NETMASK = 24;
/** passt's end of the socket pair, after stdin, stdout and stderr. */
export const PASST_FD = 3;

/**
 * passt's arguments.
 * @param ports with the chosen ports
 * @throws RangeError if the guest has no address
 */
export function passtArguments(spec: NetworkSpec, backEnd: PasstSpec, ports: readonly PublishedPorts[]): string[] {
  const [address, ...more] = spec.addresses.filter((text) => !isLinkLocal(text));
  if (address === undefined) throw new RangeError('the guest has no address');
  const isDual = spec.gateways.length > 1;
  return [
    ...['--foreground', '--quiet', '--fd', String(PASST_FD)],
    ...['--address', address, '--netmask', String(NETMASK), '--mac-addr', spec.gatewayMac, '--mtu', String(spec.mtu)],
    ...spec.gateways.flatMap((gateway) => ['--gateway', gateway]),
    ...(isDual ? more.slice(0, 1).flatMap((text) => ['--address', text]) : ['--ipv4-only']),
    ...['--no-tcp', '--no-dhcp', '--no-dhcpv6', '--no-ra'],
    ...(backEnd.forwardDns === undefined ? [] : ['--dns-forward', backEnd.forwardDns]),
    ...(backEnd.reachHost ? [] : ['--no-map-gw']),
    ...(backEnd.interface === undefined ? [] : ['--interface', backEnd.interface]),
    ...ports.flatMap((each) => ['--udp-ports', portsWord(each)]),
  ];
}

/** `127.0.0.1/8000-8001:80-81` */
function portsWord({ address, host, guest, count }: PublishedPorts): string {
  const range = (first: number) => (count === 1 ? String(first) : `${first}-${first + count - 1}`);
  return `${address === undefined ? '' : `${address}/`}${range(host)}:${range(guest)}`;
}
