// tsvm tag: adds a name to an image.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm tag', context)
    .description('Adds a name to an image.')
    .usage('[options] IMAGE NAME[:TAG]')
    .argument('<IMAGE>', 'name or ID')
    .argument('<NAME>', 'the new name; it is taken from the image that has it')
    .action((image: string, name: string) => new Home().images.tag(image, name));
}
