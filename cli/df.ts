// tsvm df: what the store takes of the host's disk.
import { type Command, Option } from 'commander';
import { openStore, type StoreUsage } from '../images/index.js';
import { tsvmHome } from '../sandbox/index.js';
import { type Context, createCommand } from './command.js';
import { formatAge, formatBytes, formatTable, shortId } from './table.js';

export function command(context: Context): Command {
  return createCommand('tsvm df', context)
    .description("Shows what the store takes of the host's disk.")
    .option('--verbose', 'image by image, with what it shares with others')
    .addOption(new Option('--format <FORMAT>', 'how').choices(['table', 'json']).default('table'))
    .action(async ({ verbose, format }: { verbose?: boolean; format: string }) => {
      const store = openStore(tsvmHome());
      if (verbose) {
        const images = await store.list();
        if (format === 'json') process.stdout.write(images.map((image) => `${JSON.stringify(image)}\n`).join(''));
        else {
          process.stdout.write(
            formatTable(
              ['REPOSITORY', 'TAG', 'IMAGE ID', 'CREATED', 'SIZE', 'SHARED SIZE', 'UNIQUE SIZE'],
              images.map(({ name, tag, digest, created, size, sharedSize }) => [
                name ?? '<none>',
                tag ?? '<none>',
                shortId(digest),
                formatAge(created),
                formatBytes(size),
                formatBytes(sharedSize),
                formatBytes(size - sharedSize),
              ]),
            ),
          );
        }
        return;
      }
      const rows = toRows(await store.usage());
      if (format === 'json') process.stdout.write(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      else {
        process.stdout.write(
          formatTable(
            ['TYPE', 'TOTAL', 'ACTIVE', 'SIZE', 'RECLAIMABLE'],
            rows.map((row) => [row.Type, row.TotalCount, row.Active, row.Size, row.Reclaimable]),
          ),
        );
      }
    });
}

function toRows({ images, temporary }: StoreUsage) {
  const percent = images.size > 0 ? ` (${Math.round((100 * images.reclaimable) / images.size)}%)` : '';
  return [
    {
      Type: 'Images',
      TotalCount: `${images.total}`,
      Active: `${images.active}`,
      Size: formatBytes(images.size),
      Reclaimable: formatBytes(images.reclaimable) + percent,
    },
    {
      Type: 'Temporary',
      TotalCount: `${temporary.total}`,
      Active: '',
      Size: formatBytes(temporary.size),
      Reclaimable: '',
    },
  ];
}
