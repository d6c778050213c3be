// tsvm volume ls: lists volumes.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { parseFilters } from '../../options/filter.js';
import { FORMAT_HELP, formatList } from '../../output/listing.js';
import { type Context, collect, createCommand } from '../command.js';
import { describeVolume, FILTERS, selectVolumes } from './select.js';

const COLUMNS = [
  ['DRIVER', 'Driver'],
  ['VOLUME NAME', 'Name'],
] as const;

export function command(context: Context): Command {
  return createCommand('tsvm volume ls', context)
    .description('Lists volumes. With --quiet, prints only their names.')
    .usage('[options]')
    .option('-f, --filter <FILTER>', `filter the output: ${FILTERS.join('=, ')}=`, collect)
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(({ filter = [], format }: { filter?: string[]; format?: string }) => {
      const rows = selectVolumes(new Home().volumes, parseFilters(filter, FILTERS)).map(describeVolume);
      if (context.options.quiet) process.stdout.write(rows.map(({ Name }) => `${Name}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, format));
    });
}
