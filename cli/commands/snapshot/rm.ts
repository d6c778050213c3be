// tsvm snapshot rm: removes snapshots.
import type { Command } from 'commander';
import { hasCode } from '../../../errors/index.js';
import { Home, SnapshotStore } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm snapshot rm', context)
    .description('Removes snapshots. Containers that came from them run on, and keep what they use of the disk.')
    .usage('[options] SNAPSHOT...')
    .argument('<SNAPSHOT...>', 'names')
    .option('-f, --force', 'ignore names that do not exist')
    .action((names: string[], { force = false }: { force?: boolean }) => {
      const store = new SnapshotStore(new Home());
      return forEachName(names, context, async (name) => {
        try {
          await store.remove(name);
        } catch (error) {
          if (force && hasCode(error, 'no-such-snapshot')) return;
          throw error;
        }
        process.stdout.write(`${name}\n`);
      });
    });
}
