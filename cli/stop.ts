// tsvm stop: containers end, gently at first.
import type { Command } from 'commander';
import { type Container, signalNumber } from '../sandbox/index.js';
import { type Context, createCommand } from './command.js';
import { forEachContainer } from './each.js';
import { UsageError } from './failure.js';

const EXAMPLES = `
Examples:
  tsvm stop web
  tsvm stop -t 60 db

A command that is process 1 and has no handler for SIGTERM ignores it, as in Docker: it is killed when the time is over.`;

interface Options {
  time?: number;
  signal?: string;
}

/** Adds what says how a container is stopped. */
export function addStopOptions(command: Command): Command {
  return command
    .option('-t, --time <SECONDS>', 'how long to wait before it is killed (default: 10)', parseSeconds)
    .option('-s, --signal <SIGNAL>', "what to send first (default: the image's, else SIGTERM)");
}

export function stopAs(container: Container, { time, signal }: Options): Promise<void> {
  return container.stop(time, signal === undefined ? undefined : signalNumber(signal));
}

export function command(context: Context): Command {
  return addStopOptions(
    createCommand('tsvm stop', context)
      .description('Stops containers.')
      .usage('[options] CONTAINER...')
      .argument('<CONTAINER...>', 'names or IDs'),
  )
    .addHelpText('after', EXAMPLES)
    .action((references: string[], options: Options) =>
      forEachContainer(references, context, async (container) => {
        await stopAs(container, options);
        return undefined;
      }),
    );
}

function parseSeconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`invalid argument '${text}' for --time: whole seconds`);
  return Number(text);
}
