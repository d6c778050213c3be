// tsvm manifest rm: removes lists of this home. Images and lists in registries stay.
import type { Command } from 'commander';
import { manifestLists } from '../../../images/lists.js';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm manifest rm', context)
    .description('Removes lists of this home. What is in registries stays.')
    .usage('MANIFEST_LIST...')
    .argument('<MANIFEST_LIST...>', 'names')
    .action(async (names: string[]) => {
      const lists = manifestLists(new Home().path);
      await forEachName(names, context, (name) => lists.remove(name));
    });
}
