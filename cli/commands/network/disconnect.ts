// tsvm network disconnect: disconnects a container from a network.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm network disconnect', context)
    .description('Disconnects a container from a network, also while it runs.')
    .usage('NETWORK CONTAINER')
    .argument('<NETWORK>', 'name or ID')
    .argument('<CONTAINER>', 'name or ID')
    .action((name: string, reference: string) => Container.find(new Home(), reference).disconnect(name));
}
