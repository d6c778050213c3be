// tsvm prune: removes unused images.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { hasLabels, parseFilters } from '../../options/filter.js';
import { confirmed } from '../../output/prompt.js';
import { formatBytes } from '../../output/table.js';
import { type Context, collect, createCommand, defined } from '../command.js';

interface Options {
  all?: boolean;
  force?: boolean;
  filter?: string[];
}

export function command(context: Context): Command {
  return createCommand('tsvm prune', context)
    .description('Removes images that have no name and that no container uses, and files that dead processes left.')
    .option('-a, --all', 'also named images')
    .option('-f, --force', 'do not prompt for confirmation')
    .option('--filter <FILTER>', 'remove only images with a label: label=NAME[=VALUE]', collect)
    .action(async ({ all, force, filter = [] }: Options) => {
      const labels = parseFilters(filter, ['label']).get('label');
      if (!force && !(await confirmed(all ? ALL : DANGLING))) return;
      const home = new Home();
      await home.releaseLost();
      const store = home.images;
      const kept = labels && (await store.list()).filter((image) => !hasLabels(image.labels, labels));
      const keep = (digest: string) => kept?.some((image) => image.digest === digest) ?? false;
      const { untagged, deleted, reclaimed } = await store.prune(defined({ all, keep }));
      const lines = [...untagged.map((name) => `untagged: ${name}`), ...deleted.map((digest) => `deleted: ${digest}`)];
      if (lines.length > 0) process.stdout.write(`Deleted Images:\n${lines.join('\n')}\n\n`);
      process.stdout.write(`Total reclaimed space: ${formatBytes(reclaimed)}\n`);
    });
}

const DANGLING = 'This will remove all images without a name that no container uses.';
const ALL = 'This will remove all images that no container uses.';
