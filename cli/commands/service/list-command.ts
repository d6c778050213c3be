// tsvm job ls, tsvm sandbox ls: lists what a service has of one kind.
import type { Command } from 'commander';
import { parseCount } from '../../options/number.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';
import { ADDRESS, SERVER, ServiceClient } from './client.js';

interface Listing<Item, Row> {
  /** `job`: the word of the group. */
  group: string;
  kind: 'jobs' | 'sandboxes';
  statuses: readonly string[];
  columns: Columns<Row>;
  rowOf(item: Item): Row;
}

interface LsOptions {
  server: string;
  status?: string;
  last: string;
  format?: string;
}

export function listCommand<Item extends { id: string }, Row extends Record<keyof Row, unknown>>(
  context: Context,
  { group, kind, statuses, columns, rowOf }: Listing<Item, Row>,
): Command {
  return createCommand(`tsvm ${group} ls`, context)
    .description(`Lists ${kind}, newest first. --quiet prints IDs alone.`)
    .usage('[options]')
    .addOption(SERVER())
    .option('--status <STATUS>', `those that are ${statuses.join(', ')} alone`)
    .option('-n, --last <N>', 'how many', '50')
    .option('--format <FORMAT>', FORMAT_HELP)
    .addHelpText('after', ADDRESS)
    .action(async ({ status, last, format, ...options }: LsOptions) => {
      const client = new ServiceClient(options);
      const found = await client.list<Item>(kind, parseCount(last, '--last'), status);
      if (context.options.quiet) process.stdout.write(found.map(({ id }) => `${id}\n`).join(''));
      else process.stdout.write(formatList(found.map(rowOf), columns, format));
    });
}
