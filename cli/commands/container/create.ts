// tsvm create: creates a container without starting it.
import type { Command } from 'commander';
import { addContainerOptions, CIDFILE_OPTION, toContainerSpec } from '../../options/container-options.js';
import { readOptions } from '../../options/declaration.js';
import { type Context, createCommand } from '../command.js';
import { newContainer } from './new-container.js';

const EXAMPLES = `
Examples:
  tsvm create --name job -m 1g debian:12 make -C /src
  tsvm start -a job`;

export function command(context: Context): Command {
  const create = createCommand('tsvm create', context);
  return addContainerOptions(create.description('Creates a container without starting it, and prints its ID.'))
    .addHelpText('after', EXAMPLES)
    .action(async (image: string, words: string[]) => {
      const { cidfile } = readOptions([CIDFILE_OPTION], create);
      const { id } = await newContainer(toContainerSpec(image, words, create), context, { cidfile });
      process.stdout.write(`${id}\n`);
    });
}
