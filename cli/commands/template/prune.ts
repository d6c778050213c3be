// tsvm template prune: removes all templates.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { TemplateStore } from '../../../sandbox/machines.js';
import { confirmed } from '../../output/prompt.js';
import { formatBytes } from '../../output/table.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm template prune', context)
    .description('Removes all templates. Machines that came from them run on.')
    .usage('[options]')
    .option('-f, --force', 'do not prompt for confirmation')
    .action(async ({ force = false }: { force?: boolean }) => {
      if (!force && !(await confirmed('This will remove all templates.'))) return;
      const removed = new TemplateStore(new Home().templates).prune(0);
      const names = removed.map(({ name }) => name);
      if (names.length > 0) process.stdout.write(`Deleted Templates:\n${names.join('\n')}\n\n`);
      const reclaimed = removed.reduce((sum, { size }) => sum + size, 0);
      process.stdout.write(`Total reclaimed space: ${formatBytes(reclaimed)}\n`);
    });
}
