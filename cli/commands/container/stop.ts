// tsvm stop: containers end, gently at first.
import { type Command, Option } from 'commander';
import type { Container } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm stop web
  tsvm stop -t 60 db

A command that is process 1 and has no handler for SIGTERM ignores it, as in Docker: it is killed when the time is over.`;

export interface StopOptions {
  /** Milliseconds. */
  timeout?: number;
  /** What Docker called it at first. */
  time?: number;
  signal?: string;
}

/** Adds what says how a container is stopped. */
export function addStopOptions(command: Command): Command {
  return command
    .option('-t, --timeout <SECONDS>', 'how long to wait before it is killed (default: 10)', parseSeconds)
    .addOption(new Option('--time <SECONDS>', 'as --timeout').argParser(parseSeconds).hideHelp())
    .option('-s, --signal <SIGNAL>', "what to send first (default: the image's, else SIGTERM)");
}

export function stopAs(container: Container, { timeout, time, signal }: StopOptions): Promise<void> {
  return container.stop({ timeout: timeout ?? time, signal });
}

export function command(context: Context): Command {
  return addStopOptions(
    createCommand('tsvm stop', context)
      .description('Stops containers.')
      .usage('[options] CONTAINER...')
      .argument('<CONTAINER...>', 'names or IDs'),
  )
    .addHelpText('after', EXAMPLES)
    .action((references: string[], options: StopOptions) =>
      forEachContainer(references, context, async (container) => {
        await stopAs(container, options);
        return undefined;
      }),
    );
}

/** A number of seconds, in milliseconds. */
function parseSeconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`invalid argument '${text}' for --timeout: whole seconds`);
  return Number(text) * 1000;
}
