// tsvm rm: removes containers with their files.
import type { Command } from 'commander';
import { hasCode } from '../../../errors/index.js';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';
import { forEachReference } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm rm job
  tsvm rm -f $(tsvm ps -aq)`;

export function command(context: Context): Command {
  return createCommand('tsvm rm', context)
    .description('Removes containers with their files.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs')
    .option('-f, --force', 'kill and remove running containers too; ignore names that do not exist')
    .option('-v, --volumes', 'remove their anonymous volumes too')
    .addHelpText('after', EXAMPLES)
    .action((references: string[], options: { force?: boolean; volumes?: boolean }) =>
      forEachReference(references, context, async (reference) => {
        try {
          await remove(reference, options);
          return undefined;
        } catch (error) {
          // As in Docker, since 20.10.
          if (options.force && hasCode(error, 'no-such-container')) return null;
          throw error;
        }
      }),
    );
}

async function remove(reference: string, options: { force?: boolean; volumes?: boolean }): Promise<void> {
  const home = new Home();
  const folder = home.containers.findFolder(reference);
  if (folder.isDamaged()) await home.removeDamaged(folder);
  else await Container.find(home, reference).remove(options);
}
