// tsvm network create: creates a private network.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { parseLabel } from '../../options/labels.js';
import { type Context, collect, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm network create', context)
    .description('Creates a network, and prints its ID.')
    .usage('[options] NETWORK')
    .argument('<NETWORK>', 'two or more letters, digits, dots, underscores and hyphens')
    .option('--internal', 'no access outside: members reach only each other')
    .option('--label <NAME=VALUE>', 'set a label', collect)
    .action((name: string, { internal, label = [] }: { internal?: boolean; label?: string[] }) => {
      const labels = Object.fromEntries(label.map(parseLabel));
      process.stdout.write(`${new Home().networks.create(name, { internal, labels }).id}\n`);
    });
}
