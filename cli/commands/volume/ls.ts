// tsvm volume ls: lists volumes.
import type { Command } from 'commander';
import { Home, type Volume } from '../../../sandbox/internal.js';
import { parseFilters } from '../../options/filter.js';
import { FORMAT_HELP, formatList } from '../../output/listing.js';
import { formatBytes } from '../../output/table.js';
import { type Context, collect, createCommand } from '../command.js';
import { describeVolume, FILTERS, selectVolumes } from './select.js';

const COLUMNS = [
  ['DRIVER', 'Driver'],
  ['VOLUME NAME', 'Name'],
] as const;
/** Shown if a volume has a bound. */
const BOUNDS = [
  ['SIZE LIMIT', 'SizeLimit'],
  ['INODE LIMIT', 'InodeLimit'],
] as const;

export function command(context: Context): Command {
  return createCommand('tsvm volume ls', context)
    .description('Lists volumes. With --quiet, prints only their names.')
    .usage('[options]')
    .option('-f, --filter <FILTER>', `filter the output: ${FILTERS.join('=, ')}=`, collect)
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(({ filter = [], format }: { filter?: string[]; format?: string }) => {
      const volumes = selectVolumes(new Home().volumes, parseFilters(filter, FILTERS));
      const rows = volumes.map((volume) => ({ ...describeVolume(volume), ...describeBounds(volume) }));
      const isBounded = volumes.some(({ size, inodes }) => size !== undefined || inodes !== undefined);
      const columns = isBounded ? [...COLUMNS, ...BOUNDS] : COLUMNS;
      if (context.options.quiet) process.stdout.write(rows.map(({ Name }) => `${Name}\n`).join(''));
      else process.stdout.write(formatList(rows, columns, format));
    });
}

/** `-` for a volume without the bound. */
function describeBounds({ size, inodes }: Volume) {
  return { SizeLimit: size === undefined ? '-' : formatBytes(size), InodeLimit: String(inodes ?? '-') };
}
