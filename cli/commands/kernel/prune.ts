// tsvm kernel prune: removes kernels that no run boots any more.
import type { Command } from 'commander';
import { pruneKernels } from '../../../kernels/index.js';
import { confirmed } from '../../output/prompt.js';
import { formatBytes } from '../../output/table.js';
import { type Context, createCommand, defined } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm kernel prune', context)
    .description('Removes kernels that a newer version has replaced, and files that dead processes left.')
    .usage('[options]')
    .option('-a, --all', 'also kernels that only another version of tsvm boots')
    .option('-f, --force', 'do not prompt for confirmation')
    .action(async ({ all, force }: { all?: boolean; force?: boolean }) => {
      if (!force && !(await confirmed(all ? ALL : REPLACED))) return;
      const { directories, reclaimed } = await pruneKernels(defined({ all }));
      if (directories.length > 0) process.stdout.write(`Deleted Kernels:\n${directories.join('\n')}\n\n`);
      process.stdout.write(`Total reclaimed space: ${formatBytes(reclaimed)}\n`);
    });
}

const REPLACED = 'This will remove all kernels that a newer version has replaced.';
const ALL = 'This will remove all kernels that this version of tsvm does not boot.';
