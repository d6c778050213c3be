// tsvm template rm: removes templates.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { TemplateStore } from '../../../sandbox/machines.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm template rm', context)
    .description('Removes templates. Machines that came from them run on.')
    .usage('TEMPLATE...')
    .argument('<TEMPLATE...>', 'names, or their first digits')
    .action((names: string[]) =>
      forEachName(names, context, (name) => {
        const store = new TemplateStore(new Home().templates);
        store.remove(store.find(name));
        process.stdout.write(`${name}\n`);
      }),
    );
}
