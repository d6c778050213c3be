// tsvm network connect: connects a container to a network.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Context, collect, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm network connect', context)
    .description('Connects a container to a network, also while it runs.')
    .usage('[options] NETWORK CONTAINER')
    .argument('<NETWORK>', 'name or ID')
    .argument('<CONTAINER>', 'name or ID')
    .option('--alias <NAME>', 'add a name for the container in this network', collect)
    .action((name: string, reference: string, { alias }: { alias?: string[] }) =>
      Container.find(new Home(), reference).connect(name, alias),
    );
}
