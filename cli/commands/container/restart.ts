// tsvm restart: containers are stopped and started.
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';
import { addStopOptions, type StopOptions, stopAs } from './stop.js';

const EXAMPLES = `
Examples:
  tsvm restart web
  tsvm restart -t 0 $(tsvm ps -q)`;

export function command(context: Context): Command {
  return addStopOptions(
    createCommand('tsvm restart', context)
      .description('Stops containers that run, and starts them.')
      .usage('[options] CONTAINER...')
      .argument('<CONTAINER...>', 'names or IDs'),
  )
    .addHelpText('after', EXAMPLES)
    .action((references: string[], options: StopOptions) =>
      forEachContainer(references, context, async (container) => {
        await stopAs(container, options);
        await container.start();
        return undefined;
      }),
    );
}
