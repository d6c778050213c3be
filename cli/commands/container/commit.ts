// tsvm commit: what a container wrote becomes an image.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Context, collect, createCommand, defined } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm commit web web:patched
  tsvm commit -c 'CMD ["/srv/start"]' -m 'with the new start' web web:2`;

interface Options {
  author?: string;
  message?: string;
  change?: string[];
}

export function command(context: Context): Command {
  return createCommand('tsvm commit', context)
    .description('Makes an image of a container: its image, and one layer of what it wrote. Says the ID.')
    .usage('[options] CONTAINER [NAME[:TAG]]')
    .argument('<CONTAINER>', 'name or ID')
    .argument('[NAME]', 'of the image')
    .option('-a, --author <TEXT>', 'who made it')
    .option('-m, --message <TEXT>', 'what was done')
    .option('-c, --change <INSTRUCTION>', 'CMD, ENTRYPOINT, ENV, LABEL, USER, WORKDIR, EXPOSE, VOLUME', collect)
    .addHelpText('after', EXAMPLES)
    .action(async (reference: string, name: string | undefined, { author, message, change }: Options) => {
      const container = Container.find(new Home(), reference);
      const id = await container.commit(defined({ name, author, comment: message, changes: change }));
      process.stdout.write(`${id}\n`);
    });
}
