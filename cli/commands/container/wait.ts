// tsvm wait: waits until containers stop.
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm wait', context)
    .description('Waits until containers stop, then prints their exit codes.')
    .usage('CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs')
    .addHelpText('after', '\nExamples:\n  test "$(tsvm wait job)" = 0 && echo done')
    .action((references: string[]) =>
      forEachContainer(references, context, async (container) => String(await container.wait())),
    );
}
