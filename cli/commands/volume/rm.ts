// tsvm volume rm: removes volumes with their contents.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm volume rm', context)
    .description('Removes volumes with their contents.')
    .usage('[options] VOLUME...')
    .argument('<VOLUME...>', 'names')
    .option('-f, --force', 'ignore names that do not exist')
    .action(async (names: string[], { force = false }: { force?: boolean }) => {
      const { volumes } = new Home();
      await forEachName(names, context, async (name) => {
        if (force && volumes.find(name) === undefined) return;
        await volumes.remove(name);
        process.stdout.write(`${name}\n`);
      });
    });
}
