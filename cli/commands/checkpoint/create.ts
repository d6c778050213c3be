// tsvm checkpoint create: makes a snapshot of a running container, from which it starts again.
import type { Command } from 'commander';
import { Container, Home, SandboxError } from '../../../sandbox/internal.js';
import { CHECKPOINT_DIR_OPTION, type CheckpointDir } from '../../options/checkpoint-dir.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { type Context, createCommand } from '../command.js';

interface Options extends CheckpointDir {
  leaveRunning?: boolean;
}

const OPTIONS: readonly Declaration<Options>[] = [
  { flags: '--leave-running', help: 'the container runs on', field: 'leaveRunning' },
  CHECKPOINT_DIR_OPTION,
];

const EXAMPLES = `
Examples:
  tsvm checkpoint create web ready
  tsvm start --checkpoint ready web`;

export function command(context: Context): Command {
  const command = createCommand('tsvm checkpoint create', context);
  return addOptions(command, OPTIONS)
    .description('Saves memory, processes and disk of a running container under a name, and kills it.')
    .usage('[options] CONTAINER CHECKPOINT')
    .argument('<CONTAINER>', 'name or ID')
    .argument('<CHECKPOINT>', "two or more letters, digits, '_', '.' and '-'")
    .addHelpText('after', EXAMPLES)
    .action(async (reference: string, name: string) => {
      const { leaveRunning = false } = readOptions(OPTIONS, command);
      const container = Container.find(new Home(), reference);
      if (!leaveRunning && container.config.spec.autoRemove) {
        const why = 'is removed at its end (--rm): add --leave-running';
        throw new SandboxError('conflict', `container ${container.id.slice(0, 12)} ${why}`);
      }
      await container.snapshot(name);
      if (!leaveRunning) await container.stop({ timeout: 0 });
      process.stdout.write(`${name}\n`);
    });
}
