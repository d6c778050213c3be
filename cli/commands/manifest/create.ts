// tsvm manifest create: makes a list of images for several platforms.
import type { Command } from 'commander';
import { manifestLists } from '../../../images/lists.js';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm manifest create registry.example/app:1 registry.example/app:1-amd64 registry.example/app:1-arm64
  tsvm manifest push --purge registry.example/app:1`;

export function command(context: Context): Command {
  return createCommand('tsvm manifest create', context)
    .description('Makes a list of images for several platforms. The images are in registries: push them first.')
    .usage('[options] MANIFEST_LIST [MANIFEST...]')
    .argument('<MANIFEST_LIST>', 'name of the list: NAME[:TAG]')
    .argument('[MANIFEST...]', 'names of images in registries')
    .option('-a, --amend', 'add to a list that is there already')
    .option('--all', 'of an image that is a list itself, add all images')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string, members: string[], { amend = false, all = false }) => {
      const created = await manifestLists(new Home().path).create(name, members, { amend, all });
      if (!context.options.quiet) process.stdout.write(`Created manifest list ${created}\n`);
    });
}
