// tsvm suspend and resume: save containers to the disk, and continue them.
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

function create(name: 'suspend' | 'resume', description: string, context: Context): Command {
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
  const what = 'Saves containers to the disk, memory and processes and all, and ends them.';
  return create('suspend', `${what} On KVM, and in the background, only.`, context);
}

export function resume(context: Context): Command {
  return create('resume', 'Continues suspended containers where they stood.', context);
}
