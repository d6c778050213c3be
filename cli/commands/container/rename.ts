// tsvm rename: renames a container.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm rename', context)
    .description('Renames a container.')
    .usage('CONTAINER NAME')
    .argument('<CONTAINER>', 'name or ID')
    .argument('<NAME>', 'the new name')
    .addHelpText('after', '\nExamples:\n  tsvm rename web web-old')
    .action((reference: string, name: string) => Container.find(new Home(), reference).rename(name));
}
