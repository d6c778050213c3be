// tsvm commit: creates an image from a container's changes.
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
    .description(
      "Creates an image from a container: its image and one layer with the container's changes. Prints the ID.",
    )
    .usage('[options] CONTAINER [NAME[:TAG]]')
    .argument('<CONTAINER>', 'name or ID')
    .argument('[NAME]', 'name of the new image')
    .option('-a, --author <TEXT>', 'author of the image')
    .option('-m, --message <TEXT>', 'commit message')
    .option(
      '-c, --change <INSTRUCTION>',
      'apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, LABEL, USER, WORKDIR, EXPOSE, VOLUME',
      collect,
    )
    .addHelpText('after', EXAMPLES)
    .action(async (reference: string, name: string | undefined, { author, message, change }: Options) => {
      const container = Container.find(new Home(), reference);
      const id = await container.commit(defined({ name, author, comment: message, changes: change }));
      process.stdout.write(`${id}\n`);
    });
}
