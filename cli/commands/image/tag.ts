// tsvm tag: one more name for an image.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm tag', context)
    .description('Gives an image one more name.')
    .usage('[options] IMAGE NAME[:TAG]')
    .argument('<IMAGE>', 'its name or ID now')
    .argument('<NAME>', 'the new name; an image that has it now loses it')
    .action((image: string, name: string) => new Home().images.tag(image, name));
}
