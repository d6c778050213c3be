// tsvm volume rm: volumes go, with all that is in them.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm volume rm', context)
    .description('Removes volumes, with all that is in them.')
    .usage('[options] VOLUME...')
    .argument('<VOLUME...>', 'names')
    .option('-f, --force', 'say nothing of those that are not there')
    .action(async (names: string[], { force = false }: { force?: boolean }) => {
      const { volumes } = new Home();
      await forEachName(names, context, async (name) => {
        if (force && volumes.find(name) === undefined) return;
        await volumes.remove(name);
        process.stdout.write(`${name}\n`);
      });
    });
}
