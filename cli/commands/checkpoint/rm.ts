// tsvm checkpoint rm: removes a snapshot of a container.
import type { Command } from 'commander';
import { Container, Home, SnapshotStore } from '../../../sandbox/internal.js';
import { CHECKPOINT_DIR_OPTION, type CheckpointDir } from '../../options/checkpoint-dir.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { type Context, createCommand } from '../command.js';

const OPTIONS: readonly Declaration<CheckpointDir>[] = [CHECKPOINT_DIR_OPTION];

export function command(context: Context): Command {
  const command = createCommand('tsvm checkpoint rm', context);
  return addOptions(command, OPTIONS)
    .description('Removes a checkpoint of a container.')
    .usage('CONTAINER CHECKPOINT')
    .argument('<CONTAINER>', 'name or ID')
    .argument('<CHECKPOINT>', 'its name')
    .action(async (reference: string, name: string) => {
      readOptions(OPTIONS, command);
      const home = new Home();
      const store = new SnapshotStore(home);
      store.findOf(Container.find(home, reference).id, name);
      await store.remove(name);
    });
}
