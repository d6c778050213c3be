// tsvm volume prune: removes unused volumes.
import type { Command } from 'commander';
import { hasCode } from '../../../errors/index.js';
import { Home, isAnonymous, volumeSize } from '../../../sandbox/internal.js';
import { type Filters, parseFilters } from '../../options/filter.js';
import { describeError, exitCode } from '../../output/errors.js';
import { confirmed } from '../../output/prompt.js';
import { formatBytes } from '../../output/table.js';
import { type Context, collect, createCommand, openLog } from '../command.js';
import { selectVolumes } from './select.js';

export function command(context: Context): Command {
  return createCommand('tsvm volume prune', context)
    .description('Removes the anonymous volumes that no container uses, with their contents.')
    .usage('[options]')
    .option('-a, --all', 'also named volumes')
    .option('-f, --force', 'do not prompt for confirmation')
    .option('--filter <FILTER>', 'remove only volumes with a label: label=NAME[=VALUE]', collect)
    .action(async ({ all = false, force, filter = [] }: { all?: boolean; force?: boolean; filter?: string[] }) => {
      const labels = parseFilters(filter, ['label']);
      const which = all ? 'all volumes' : 'all anonymous volumes';
      if (!force && !(await confirmed(`This will remove ${which} not used by at least one container.`))) return;
      await prune(labels, all, context);
    });
}

/** A volume that cannot be removed is logged, and does not keep the others. */
async function prune(labels: Filters, all: boolean, context: Context): Promise<void> {
  const log = await openLog(context);
  const removed: string[] = [];
  let reclaimed = 0;
  const { volumes } = new Home();
  await volumes.sweep();
  for (const volume of selectVolumes(volumes, new Map([...labels, ['dangling', ['true']]]))) {
    if (!all && !isAnonymous(volume)) continue;
    const size = await volumeSize(volume);
    try {
      await volumes.remove(volume.name);
    } catch (error) {
      // A container uses it meanwhile, or another process removed it.
      if (hasCode(error, 'conflict', 'no-such-volume')) continue;
      log.error(describeError(error).message);
      context.exitCode = exitCode(error);
      continue;
    }
    removed.push(volume.name);
    reclaimed += size;
  }
  if (removed.length > 0) process.stdout.write(`Deleted Volumes:\n${removed.join('\n')}\n\n`);
  process.stdout.write(`Total reclaimed space: ${formatBytes(reclaimed)}\n`);
}
