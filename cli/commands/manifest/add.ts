// tsvm manifest add: adds images to a list.
import type { Command } from 'commander';
import { manifestLists } from '../../../images/lists.js';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm manifest add', context)
    .description("Adds images to a list, as 'tsvm manifest create --amend' does.")
    .usage('[options] MANIFEST_LIST MANIFEST...')
    .argument('<MANIFEST_LIST>', 'name of the list: NAME[:TAG]')
    .argument('<MANIFEST...>', 'names of images in registries')
    .option('--all', 'of an image that is a list itself, add all images')
    .action(async (name: string, members: string[], { all = false }) => {
      const amended = await manifestLists(new Home().path).create(name, members, { amend: true, all });
      if (!context.options.quiet) process.stdout.write(`${amended}\n`);
    });
}
