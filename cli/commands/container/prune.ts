// tsvm container prune: removes all stopped containers.
import type { Command } from 'commander';
import { Container, containerDiskUsage, Home, SandboxError } from '../../../sandbox/internal.js';
import { hasLabels, parseFilters } from '../../options/filter.js';
import { describeError, exitCode } from '../../output/errors.js';
import { confirmed } from '../../output/prompt.js';
import { formatBytes } from '../../output/table.js';
import { type Context, collect, createCommand, openLog } from '../command.js';

interface Options {
  force?: boolean;
  filter?: string[];
}

export function command(context: Context): Command {
  return createCommand('tsvm container prune', context)
    .description('Removes all stopped containers with their files.')
    .option('-f, --force', 'do not prompt for confirmation')
    .option('--filter <FILTER>', 'remove only containers with a label: label=NAME[=VALUE]', collect)
    .addHelpText('after', '\nExamples:\n  tsvm container prune -f --filter label=tier=test')
    .action(async ({ force, filter = [] }: Options) => {
      const labels = parseFilters(filter, ['label']).get('label');
      if (!force && !(await confirmed('This will remove all stopped containers.'))) return;
      const log = await openLog(context);
      let reclaimed = 0;
      const removed: string[] = [];
      for (const { config, state } of Container.list(new Home())) {
        if ((state.status !== 'exited' && state.status !== 'created') || !hasLabels(config.labels, labels)) continue;
        try {
          const container = Container.find(new Home(), config.id);
          const size = container.diskUsage;
          await container.remove();
          removed.push(config.id);
          reclaimed += size;
        } catch (error) {
          // It was started meanwhile, so it is not a stopped container.
          if (error instanceof SandboxError && error.code === 'running') continue;
          log.error(describeError(error).message);
          context.exitCode = exitCode(error);
        }
      }
      const home = new Home();
      // The labels of a damaged container are lost.
      for (const folder of labels === undefined ? home.containers.damaged() : []) {
        const size = containerDiskUsage(folder);
        await home.removeDamaged(folder);
        removed.push(folder.id);
        reclaimed += size;
      }
      if (removed.length > 0) process.stdout.write(`Deleted Containers:\n${removed.join('\n')}\n\n`);
      process.stdout.write(`Total reclaimed space: ${formatBytes(reclaimed)}\n`);
    });
}
