// The options of a container's network: Docker's, and those of where it may connect to.
import type { Command } from 'commander';
import type { NetworkOptions } from '../../sandbox/internal.js';
import { collect } from './command.js';

/** As commander gives them. */
export interface NetworkCliOptions {
  network?: string;
  networkAlias?: string[];
  publish?: string[];
  publishAll?: boolean;
  expose?: string[];
  dns?: string[];
  addHost?: string[];
  allowNet?: string[];
  denyNet?: string[];
  macAddress?: string;
}

/** Adds the options to a command that makes a container. */
export function addNetworkOptions(command: Command): Command {
  return command
    .option('--network <NAME>', 'none, passt, tap:INTERFACE, or a private network (default: passt)')
    .option('--network-alias <NAME>', 'one more name in the private network', collect)
    .option('-p, --publish <[[IP:]HOST:]GUEST[/udp]>', "lead ports of the host to the container's", collect)
    .option('-P, --publish-all', 'lead free ports of the host to all that the image or --expose names')
    .option('--expose <PORT[/udp]>', 'name a port, or a range, that the container serves', collect)
    .option('--dns <IP>', "name server instead of the host's", collect)
    .option('--add-host <NAME:IP>', 'add a line to /etc/hosts; host-gateway is the host', collect)
    .option('--allow-net <TO>', 'connect only to CIDR, NAME, *.NAME or host-gateway, each [:PORT]', collect)
    .option('--deny-net <TO>', 'never connect to', collect)
    .option('--mac-address <MAC>', "the interface's hardware address");
}

export function toNetwork(options: NetworkCliOptions): NetworkOptions {
  const { network, networkAlias, publish, publishAll, expose, dns, addHost, allowNet, denyNet, macAddress } = options;
  return {
    mode: network,
    publish,
    publishAll,
    expose,
    dns,
    hosts: addHost,
    allow: allowNet,
    aliases: networkAlias,
    deny: denyNet,
    mac: macAddress,
  };
}
