// tsvm create: a container that does not run yet.
import type { Command } from 'commander';
import { type Context, createCommand } from '../../options/command.js';
import { addContainerOptions, type ContainerOptions, toContainerSpec } from '../../options/container-spec.js';
import { newContainer } from './new-container.js';

const EXAMPLES = `
Examples:
  tsvm create --name job -m 1g debian:12 make -C /src
  tsvm start -a job`;

export function command(context: Context): Command {
  return addContainerOptions(
    createCommand('tsvm create', context).description('Makes a container, for tsvm start to start. Says its ID.'),
  )
    .addHelpText('after', EXAMPLES)
    .action(async (image: string, words: string[], options: ContainerOptions) => {
      const spec = toContainerSpec(image, words, options);
      const { id } = await newContainer(spec, context, options.cidfile);
      process.stdout.write(`${id}\n`);
    });
}
