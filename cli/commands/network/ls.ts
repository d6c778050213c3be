// tsvm network ls: lists private networks.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { FORMAT_HELP, formatLabels, formatList } from '../../output/listing.js';
import { type Context, collect, createCommand, openLog } from '../command.js';
import { DRIVER, FILTERS, SCOPE, selectNetworks } from './select.js';

const COLUMNS = [
  ['NETWORK ID', 'ID'],
  ['NAME', 'Name'],
  ['DRIVER', 'Driver'],
  ['SCOPE', 'Scope'],
] as const;

export function command(context: Context): Command {
  return createCommand('tsvm network ls', context)
    .description('Lists networks. With --quiet, prints only their IDs.')
    .usage('[options]')
    .option('-f, --filter <FILTER>', `filter the output: ${FILTERS.join('=, ')}=`, collect)
    .option('--format <FORMAT>', FORMAT_HELP)
    .option('--no-trunc', 'do not truncate IDs')
    .action(async ({ filter = [], format, trunc }: { filter?: string[]; format?: string; trunc: boolean }) => {
      const rows = selectNetworks(filter).map(({ id, name, internal, createdAt, labels }) => ({
        ID: trunc ? id.slice(0, 12) : id,
        Name: name,
        Driver: DRIVER,
        Scope: SCOPE,
        Internal: String(internal),
        CreatedAt: createdAt,
        Labels: formatLabels(labels),
      }));
      if (context.options.quiet) process.stdout.write(rows.map(({ ID }) => `${ID}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, format));
      const log = await openLog(context);
      for (const name of new Home().networks.damaged()) {
        log.warn(`the record of the network ${name} is damaged: tsvm network rm removes it`);
      }
    });
}
