// tsvm kill: a signal to containers.
import type { Command } from 'commander';
import { signalNumber } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm kill web
  tsvm kill -s HUP web`;

export function command(context: Context): Command {
  return createCommand('tsvm kill', context)
    .description('Sends a signal to the first process of containers that run.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs')
    .option('-s, --signal <SIGNAL>', 'name or number', 'KILL')
    .addHelpText('after', EXAMPLES)
    .action((references: string[], { signal }: { signal: string }) => {
      const number = signalNumber(signal);
      return forEachContainer(references, context, async (container) => {
        await container.signal(number);
        return undefined;
      });
    });
}
