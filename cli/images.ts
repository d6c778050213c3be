// tsvm images: the images of the store.
import { type Command, Option } from 'commander';
import { openStore } from '../images/index.js';
import { tsvmHome } from '../sandbox/index.js';
import { type Context, createCommand } from './command.js';
import { formatAge, formatBytes, formatTable } from './table.js';

/** Digits of an image ID that are shown. */
const SHORT = 12;

export function command(context: Context): Command {
  return createCommand('tsvm images', context)
    .description('Lists the images in the store; with --quiet only their IDs.')
    .usage('[options] [NAME[:TAG]]')
    .argument('[NAME]', 'only the images of this name')
    .addOption(new Option('--format <FORMAT>', 'how').choices(['table', 'json']).default('table'))
    .action(async (name: string | undefined, { quiet, format }: { quiet?: boolean; format: string }) => {
      const images = await openStore(tsvmHome()).list();
      const shown = images.filter((image) => name === undefined || isNamed(image, name));
      const rows = shown.map(({ name, tag, digest, created, size }) => ({
        Repository: name ?? '<none>',
        Tag: tag ?? '<none>',
        ID: digest.replace(/^sha256:/, '').slice(0, SHORT),
        CreatedAt: created,
        CreatedSince: formatAge(created),
        Size: formatBytes(size),
      }));
      if (quiet) process.stdout.write(rows.map(({ ID }) => `${ID}\n`).join(''));
      else if (format === 'json') process.stdout.write(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      else {
        process.stdout.write(
          formatTable(
            ['REPOSITORY', 'TAG', 'IMAGE ID', 'CREATED', 'SIZE'],
            rows.map((row) => [row.Repository, row.Tag, row.ID, row.CreatedSince, row.Size]),
          ),
        );
      }
    });
}

function isNamed({ name, tag }: { name: string | null; tag: string | null }, wanted: string): boolean {
  return wanted === name || wanted === `${name}:${tag}`;
}
