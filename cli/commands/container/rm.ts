// tsvm rm: removes containers with their files.
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm rm job
  tsvm rm -f $(tsvm ps -aq)`;

export function command(context: Context): Command {
  return createCommand('tsvm rm', context)
    .description('Removes containers with their files.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs')
    .option('-f, --force', 'kill and remove running containers too')
    .option('-v, --volumes', 'remove their anonymous volumes too')
    .addHelpText('after', EXAMPLES)
    .action((references: string[], options: { force?: boolean; volumes?: boolean }) =>
      forEachContainer(references, context, async (container) => {
        await container.remove(options);
        return undefined;
      }),
    );
}
