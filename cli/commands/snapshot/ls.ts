// tsvm snapshot ls: lists snapshots.
import type { Command } from 'commander';
import { Home, SnapshotStore } from '../../../sandbox/internal.js';
import { FORMAT_HELP, formatList } from '../../output/listing.js';
import { formatAge, formatBytes } from '../../output/table.js';
import { type Context, createCommand, openLog } from '../command.js';

const COLUMNS = [
  ['NAME', 'Name'],
  ['CONTAINER', 'Container'],
  ['IMAGE', 'Image'],
  ['CREATED', 'CreatedSince'],
  ['SIZE', 'Size'],
] as const;

export function command(context: Context): Command {
  return createCommand('tsvm snapshot ls', context)
    .description('Lists snapshots. With --quiet, prints only their names.')
    .usage('[options]')
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(async ({ format }: { format?: string }) => {
      const store = new SnapshotStore(new Home());
      const rows = await Promise.all(
        store.list().map(async (snapshot) => ({
          Name: snapshot.name ?? '',
          Container: snapshot.source,
          Image: snapshot.config.spec.image,
          CreatedAt: snapshot.createdAt,
          CreatedSince: formatAge(snapshot.createdAt),
          Size: formatBytes(await snapshot.size()),
        })),
      );
      if (context.options.quiet) process.stdout.write(rows.map(({ Name }) => `${Name}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, format));
      const log = await openLog(context);
      for (const name of store.damaged()) {
        log.warn(`the record of the snapshot ${name} is damaged: tsvm snapshot rm removes it`);
      }
    });
}
