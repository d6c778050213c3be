// The options of a container's network: Docker's, and --allow-net and --deny-net.
import type { NetworkOptions } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { type Declaration, text, texts } from './declaration.js';
import { parseInteger } from './number.js';
import { parseSize } from './size.js';
import { networkNames } from './values.js';

export const NETWORK_OPTIONS: readonly Declaration<NetworkOptions>[] = [
  {
    flags: '--network <NAME>',
    help: 'none, default, tap:INTERFACE, or a private network (default: default)',
    field: 'mode',
    values: () => ['none', 'default', ...networkNames()],
    parse: parseNetwork,
  },
  {
    flags: '--network-alias <NAME>',
    help: 'add a name for the container in the private network',
    field: 'aliases',
    parse: texts,
  },
  {
    flags: '-p, --publish <[[IP:]HOST:]GUEST[/udp]>',
    help: 'publish ports of the container to the host',
    field: 'publish',
    parse: texts,
  },
  {
    flags: '-P, --publish-all',
    help: 'publish all exposed ports to free ports of the host',
    field: 'publishAll',
  },
  {
    flags: '--expose <PORT[/udp]>',
    help: 'expose a port or a range of ports',
    field: 'expose',
    parse: texts,
  },
  { flags: '--dns <IP>', help: 'set a DNS server', field: 'dns', parse: texts },
  {
    flags: '--dns-search <DOMAIN>',
    help: 'look names up in a domain; . for none',
    field: 'dnsSearch',
    parse: texts,
  },
  {
    flags: '--dns-option <OPTION>',
    help: 'set an option of resolv.conf, such as ndots:2',
    field: 'dnsOptions',
    parse: texts,
  },
  {
    flags: '--add-host <NAME:IP>',
    help: 'add an entry to /etc/hosts; host-gateway is the host',
    field: 'hosts',
    parse: texts,
  },
  {
    flags: '--allow-net <TO>',
    help: 'allow connections only to CIDR, NAME, *.NAME or host-gateway, each [:PORT]',
    field: 'allow',
    values: ['host-gateway'],
    parse: texts,
  },
  {
    flags: '--deny-net <TO>',
    help: 'deny connections to CIDR, NAME, *.NAME or host-gateway, each [:PORT]',
    field: 'deny',
    values: ['host-gateway'],
    parse: texts,
  },
  {
    flags: '--max-connections <N>',
    help: 'limit the connections that are open at once (default: 16384)',
    field: 'maxConnections',
    parse: parseInteger,
  },
  {
    flags: '--network-bps <RATE>',
    help: 'limit the bytes sent in a second, and those received',
    field: 'bytesPerSecond',
    parse: parseSize,
  },
  {
    flags: '--network-pps <N>',
    help: 'limit the packets sent in a second, and those received',
    field: 'packetsPerSecond',
    parse: parseInteger,
  },
  { flags: '--mac-address <MAC>', help: 'MAC address of the container', field: 'mac', parse: text },
];

/** A container is created in one network. `tsvm network connect` adds others. */
function parseNetwork(name: string, flag: string, before: string | undefined): string | undefined {
  if (before === undefined || before === name) return text(name);
  throw new UsageError(`${flag} was given twice: connect the container to '${name}' with 'tsvm network connect'`);
}
