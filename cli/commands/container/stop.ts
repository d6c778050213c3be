// tsvm stop: stops containers, by a signal and then SIGKILL.
import type { Command } from 'commander';
import { signalNumber } from '../../../sandbox/internal.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { parseSeconds } from '../../options/number.js';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm stop web
  tsvm stop -t 60 db

As in Docker, a command that is process 1 and has no handler for SIGTERM ignores it: it is killed after the timeout.`;

/** How a container is stopped. */
interface StopOptions {
  /** Milliseconds. */
  timeout?: number;
  /** 1 to 64. */
  signal?: number;
}

export const STOP_OPTIONS: readonly Declaration<StopOptions>[] = [
  {
    flags: '-t, --timeout <SECONDS>',
    help: 'seconds to wait before killing the container (default: 10)',
    field: 'timeout',
    parse: parseSeconds,
  },
  // Docker's old name of it.
  { flags: '--time <SECONDS>', help: 'as --timeout', field: 'timeout', hidden: true, parse: parseSeconds },
  {
    flags: '-s, --signal <SIGNAL>',
    help: 'signal to send first (default: the stop signal of the container)',
    field: 'signal',
    parse: signalNumber,
  },
];

export function command(context: Context): Command {
  const command = createCommand('tsvm stop', context)
    .description('Stops running containers: sends the stop signal, then SIGKILL.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs');
  return addOptions(command, STOP_OPTIONS)
    .addHelpText('after', EXAMPLES)
    .action((references: string[]) => {
      const options = readOptions(STOP_OPTIONS, command);
      return forEachContainer(references, context, async (container) => {
        await container.stop(options);
        return undefined;
      });
    });
}
