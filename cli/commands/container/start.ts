// tsvm start: containers that were made or have ended run, again.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import type { DetachKeys } from '../../foreground/detach-keys.js';
import { startAttached } from '../../foreground/foreground.js';
import { DETACH_KEYS } from '../../options/detach-keys.js';
import { UsageError } from '../../output/errors.js';
import { type Context, createCommand } from '../command.js';
import { forEachContainer } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm start web db
  tsvm start -ai job`;

interface Options {
  attach?: boolean;
  interactive?: boolean;
  detachKeys: DetachKeys;
}

export function command(context: Context): Command {
  return createCommand('tsvm start', context)
    .description('Starts containers that do not run.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs')
    .option('-a, --attach', 'show the output, and exit as the container does')
    .option('-i, --interactive', 'pass stdin to the container; with --attach')
    .option('--detach-keys <KEYS>', 'what leaves it (default: ctrl-p,ctrl-q)', ...DETACH_KEYS)
    .addHelpText('after', EXAMPLES)
    .action(async (references: string[], { attach, interactive, detachKeys }: Options) => {
      if (attach || interactive) {
        const [reference, ...more] = references;
        if (reference === undefined || more.length > 0) {
          throw new UsageError('only one container can be started with --attach');
        }
        const { supervisor } = context.early;
        context.exitCode = await startAttached(Container.find(new Home(), reference), {
          stdin: interactive === true,
          keys: detachKeys,
          ...(supervisor && { supervisor }),
        });
        return;
      }
      await forEachContainer(references, context, async (container) => {
        const { supervisor } = context.early;
        context.early.supervisor = undefined;
        await container.start(supervisor && { supervisor });
        return undefined;
      });
    });
}
