// tsvm checkpoint ls: lists the snapshots of a container.
import type { Command } from 'commander';
import { Container, Home, SnapshotStore } from '../../../sandbox/internal.js';
import { CHECKPOINT_DIR_OPTION, type CheckpointDir } from '../../options/checkpoint-dir.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { formatList } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';

const OPTIONS: readonly Declaration<CheckpointDir>[] = [CHECKPOINT_DIR_OPTION];
const COLUMNS = [['CHECKPOINT NAME', 'Name']] as const;

export function command(context: Context): Command {
  const command = createCommand('tsvm checkpoint ls', context);
  return addOptions(command, OPTIONS)
    .description('Lists the checkpoints of a container. With --quiet, prints only their names.')
    .usage('[options] CONTAINER')
    .argument('<CONTAINER>', 'name or ID')
    .action((reference: string) => {
      readOptions(OPTIONS, command);
      const home = new Home();
      const found = new SnapshotStore(home).ofContainer(Container.find(home, reference).id);
      const rows = found.map(({ name = '' }) => ({ Name: name }));
      if (context.options.quiet) process.stdout.write(rows.map(({ Name }) => `${Name}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, undefined));
    });
}
