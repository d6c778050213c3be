// tsvm start: starts stopped containers.
import type { Command } from 'commander';
import { hasCode } from '../../../errors/index.js';
import { Container, Home, SandboxError } from '../../../sandbox/internal.js';
import type { DetachKeys } from '../../foreground/detach-keys.js';
import { attachCaller, startAttached } from '../../foreground/foreground.js';
import { CHECKPOINT_DIR_OPTION } from '../../options/checkpoint-dir.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { DEFAULT_DETACH_KEYS, DETACH_KEYS_OPTION } from '../../options/detach-keys.js';
import { snapshotNames } from '../../options/values.js';
import { UsageError } from '../../output/errors.js';
import { startWarnings } from '../../output/warnings.js';
import { type Context, createCommand, openLog } from '../command.js';
import { forEachContainer } from '../operands.js';

const EXAMPLES = `
Examples:
  tsvm start web db
  tsvm start -ai job
  tsvm start --checkpoint ready web`;

interface Options {
  attach?: boolean;
  interactive?: boolean;
  detachKeys?: DetachKeys;
  checkpoint?: string;
  checkpointDir?: string;
}

const OPTIONS: readonly Declaration<Options>[] = [
  { flags: '-a, --attach', help: "attach to the container's output, and exit with its code", field: 'attach' },
  { flags: '-i, --interactive', help: 'attach to the container, and pass stdin to it', field: 'interactive' },
  DETACH_KEYS_OPTION,
  {
    flags: '--checkpoint <NAME>',
    help: 'continue where this checkpoint of it was made',
    field: 'checkpoint',
    values: snapshotNames,
    parse: (name) => name,
  },
  CHECKPOINT_DIR_OPTION,
];

export function command(context: Context): Command {
  const command = createCommand('tsvm start', context);
  return addOptions(command, OPTIONS)
    .description('Starts stopped containers.')
    .usage('[options] CONTAINER...')
    .argument('<CONTAINER...>', 'names or IDs')
    .addHelpText('after', EXAMPLES)
    .action(async (references: string[]) => {
      const options = readOptions(OPTIONS, command);
      const { attach, interactive = false, detachKeys = DEFAULT_DETACH_KEYS, checkpoint } = options;
      if (checkpoint !== undefined && references.length > 1) {
        throw new UsageError('only one container can be started with --checkpoint');
      }
      const from = checkpoint === undefined ? {} : { checkpoint };
      const warnings = startWarnings(await openLog(context));
      if (attach || interactive) {
        const [reference, ...more] = references;
        if (reference === undefined || more.length > 0) {
          throw new UsageError('only one container can be started with --attach');
        }
        const { supervisor } = context.early;
        const container = Container.find(new Home(), reference);
        const options = { stdin: interactive, keys: detachKeys };
        try {
          context.exitCode = await startAttached(container, {
            ...options,
            ...warnings,
            ...from,
            ...(supervisor && { supervisor }),
          });
        } catch (error) {
          if (checkpoint !== undefined) throw error;
          throwUnlessRunning(error, container);
          context.exitCode = await attachCaller(container, options);
        }
        return;
      }
      await forEachContainer(references, context, async (container) => {
        const { supervisor } = context.early;
        context.early.supervisor = undefined;
        try {
          await container.start({ ...(supervisor && { supervisor }), ...warnings, ...from });
        } catch (error) {
          if (checkpoint !== undefined) throw error;
          throwUnlessRunning(error, container);
        }
        return undefined;
      });
    });
}

/** As in Docker, a container that runs is started already. */
function throwUnlessRunning(error: unknown, container: Container): void {
  const { status } = container.state;
  if (hasCode(error, 'running') && status === 'paused') {
    throw new SandboxError('running', `container ${container.id.slice(0, 12)} is paused: unpause it first`);
  }
  if (!hasCode(error, 'running') || (status !== 'running' && status !== 'restarting')) throw error;
}
