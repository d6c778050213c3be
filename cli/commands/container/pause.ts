// tsvm pause and unpause: pause containers and resume them.
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

function create(name: 'pause' | 'unpause', description: string, context: Context): Command {
  return createCommand(`tsvm ${name}`, context)
    .description(description)
    .usage('CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs')
    .addHelpText('after', `\nExamples:\n  tsvm ${name} web`)
    .action((references: string[]) =>
      forEachContainer(references, context, async (container) => {
        await container[name]();
        return undefined;
      }),
    );
}

export function command(context: Context): Command {
  return create('pause', 'Pauses all processes of containers: stops their virtual CPUs.', context);
}

export function unpause(context: Context): Command {
  return create('unpause', 'Resumes paused containers.', context);
}
