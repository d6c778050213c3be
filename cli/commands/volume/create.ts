// tsvm volume create: creates a volume.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { parseLabel } from '../../options/labels.js';
import { type BoundOptions, parseVolumeBounds } from '../../options/volume-bounds.js';
import { type Context, collect, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm volume create', context)
    .description('Creates a volume if it does not exist, and prints its name.')
    .usage('[options] [VOLUME]')
    .argument('[VOLUME]', 'two or more letters, digits, dots, underscores and hyphens (default: a random name)')
    .option('-l, --label <NAME=VALUE>', 'set a label', collect)
    .option('--size <SIZE>', "bytes that the volume's files may take on the host's disk (default: no limit)")
    .option('--inodes <N>', 'files and folders that the volume may have (default: no limit)')
    .option('-o, --opt <NAME=VALUE>', 'size=SIZE or inodes=N', collect)
    .action((name: string | undefined, { label = [], ...options }: { label?: string[] } & BoundOptions) => {
      const labels = Object.fromEntries(label.map(parseLabel));
      const bounds = parseVolumeBounds(options);
      const { volumes } = new Home();
      const volume = name === undefined ? volumes.openAnonymous(labels, bounds) : volumes.open(name, labels, bounds);
      process.stdout.write(`${volume.name}\n`);
    });
}
