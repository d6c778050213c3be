// tsvm restart: stops and starts containers.
import type { Command } from 'commander';
import { addOptions, readOptions } from '../../options/declaration.js';
import { startWarnings } from '../../output/warnings.js';
import { type Context, createCommand, openLog } from '../command.js';
import { forEachContainer } from '../operands.js';
import { STOP_OPTIONS } from './stop.js';

const EXAMPLES = `
Examples:
  tsvm restart web
  tsvm restart -t 0 $(tsvm ps -q)`;

export function command(context: Context): Command {
  const command = createCommand('tsvm restart', context)
    .description('Restarts containers: stops those that run, then starts all.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs');
  return addOptions(command, STOP_OPTIONS)
    .addHelpText('after', EXAMPLES)
    .action(async (references: string[]) => {
      const options = { ...readOptions(STOP_OPTIONS, command), ...startWarnings(await openLog(context)) };
      await forEachContainer(references, context, async (container) => {
        await container.restart(options);
        return undefined;
      });
    });
}
