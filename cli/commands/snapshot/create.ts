// tsvm snapshot create: makes a snapshot of a running container.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm snapshot create', context)
    .description('Saves memory, processes and disk of a running container under a name. The container runs on.')
    .usage('CONTAINER SNAPSHOT')
    .argument('<CONTAINER>', 'name or ID')
    .argument('<SNAPSHOT>', "two or more letters, digits, '_', '.' and '-'")
    .addHelpText('after', '\nExamples:\n  tsvm snapshot create web ready\n  tsvm run -d --snapshot ready')
    .action(async (reference: string, name: string) => {
      await Container.find(new Home(), reference).snapshot(name);
      process.stdout.write(`${name}\n`);
    });
}
