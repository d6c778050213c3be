// tsvm kill: sends a signal to containers.
import { constants } from 'node:os';
import type { Command } from 'commander';
import { signalNumber } from '../../../sandbox/internal.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm kill web
  tsvm kill -s HUP web`;

const OPTIONS: readonly Declaration<{ signal?: number }>[] = [
  {
    flags: '-s, --signal <SIGNAL>',
    help: 'signal to send, by name or number (default: KILL)',
    field: 'signal',
    parse: signalNumber,
  },
];

export function command(context: Context): Command {
  const command = createCommand('tsvm kill', context)
    .description('Sends a signal to the main process of running containers.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs');
  return addOptions(command, OPTIONS)
    .addHelpText('after', EXAMPLES)
    .action((references: string[]) => {
      const { signal = constants.signals.SIGKILL } = readOptions(OPTIONS, command);
      return forEachContainer(references, context, async (container) => {
        await container.signal(signal);
        return undefined;
      });
    });
}
