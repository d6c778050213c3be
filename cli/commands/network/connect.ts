// tsvm network connect: a container into a network.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Context, collect, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm network connect', context)
    .description('Puts a container into a network, while it runs too.')
    .usage('[options] NETWORK CONTAINER')
    .argument('<NETWORK>', 'name or ID')
    .argument('<CONTAINER>', 'name or ID')
    .option('--alias <NAME>', 'one more name in this network', collect)
    .action((name: string, reference: string, { alias }: { alias?: string[] }) =>
      Container.find(new Home(), reference).connect(name, alias),
    );
}
