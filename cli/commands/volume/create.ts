// tsvm volume create: creates a volume.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { parseLabel } from '../../options/labels.js';
import { type Context, collect, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm volume create', context)
    .description('Creates a volume if it does not exist, and prints its name.')
    .usage('[options] [VOLUME]')
    .argument('[VOLUME]', 'two or more letters, digits, dots, underscores and hyphens (default: a random name)')
    .option('-l, --label <NAME=VALUE>', 'set a label', collect)
    .action((name: string | undefined, { label = [] }: { label?: string[] }) => {
      const labels = Object.fromEntries(label.map(parseLabel));
      const { volumes } = new Home();
      const volume = name === undefined ? volumes.openAnonymous(labels) : volumes.open(name, labels);
      process.stdout.write(`${volume.name}\n`);
    });
}
