// What commands share that do one thing to containers, and have no options.
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

type Operation = 'pause' | 'unpause' | 'suspend' | 'resume';

/** The command `tsvm NAME CONTAINER...`, which calls the method of that name. */
export function operationCommand(name: Operation, description: string, context: Context): Command {
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
