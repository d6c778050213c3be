// tsvm builder prune: removes what builds keep for the next ones.
import type { Command } from 'commander';
import { hasCode } from '../../../errors/index.js';
import { buildStore } from '../../../images/build.js';
import { Home, volumeSize } from '../../../sandbox/internal.js';
import { parseDuration } from '../../options/duration.js';
import { parseFilters } from '../../options/filter.js';
import { parseSize } from '../../options/size.js';
import { confirmed } from '../../output/prompt.js';
import { formatBytes } from '../../output/table.js';
import { type Context, collect, createCommand, defined } from '../command.js';

interface Options {
  force?: boolean;
  keepStorage?: string;
  filter?: string[];
}

export function command(context: Context): Command {
  return createCommand('tsvm builder prune', context)
    .description('Removes the cache of builds: layers of steps that no image has, and what cache mounts keep.')
    .option('-f, --force', 'do not prompt for confirmation')
    .option('--keep-storage <SIZE>', 'keep what was used last, up to this size')
    .option('--filter <FILTER>', 'remove only what was not used for some time: until=24h', collect)
    .action(async ({ force, keepStorage, filter = [] }: Options) => {
      const until = parseFilters(filter, ['until']).get('until')?.at(-1);
      const before = until === undefined ? undefined : Date.now() - parseDuration(until, '--filter');
      const keep = keepStorage === undefined ? undefined : parseSize(keepStorage, '--keep-storage');
      if (!force && !(await confirmed('This will remove the cache of builds.'))) return;
      const home = new Home();
      const { removed, reclaimed } = await buildStore(home.path).prune(defined({ before, keep }));
      const isAll = before === undefined && keep === undefined;
      const freed = reclaimed + (isAll ? await removeCaches(home) : 0);
      process.stdout.write(`Removed steps: ${removed}\nTotal reclaimed space: ${formatBytes(freed)}\n`);
    });
}

/** Removes the volumes of cache mounts, but those that a build uses now. Returns their bytes. */
async function removeCaches({ volumes }: Home): Promise<number> {
  const { CACHE_VOLUME } = await import('../../../build/index.js');
  let bytes = 0;
  for (const volume of volumes.list().filter(({ name }) => name.startsWith(CACHE_VOLUME))) {
    const size = await volumeSize(volume);
    try {
      await volumes.remove(volume.name);
      bytes += size;
    } catch (error) {
      if (!hasCode(error, 'conflict', 'no-such-volume')) throw error;
    }
  }
  return bytes;
}
