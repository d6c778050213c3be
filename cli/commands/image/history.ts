// tsvm history: shows how an image was made.
import type { Command } from 'commander';
import type { HistoryEntry } from '../../../images/index.js';
import { Home } from '../../../sandbox/internal.js';
import { FORMAT_HELP, formatList } from '../../output/listing.js';
import { formatAge, formatBytes, shortId } from '../../output/table.js';
import { type Context, createCommand } from '../command.js';

/** Characters of a command to show. */
const SHORT_COMMAND = 45;

interface Options {
  format?: string;
  trunc: boolean;
}

export function command(context: Context): Command {
  return createCommand('tsvm history', context)
    .description('Shows the steps that made an image, the last one first. Sizes are bytes on disk.')
    .usage('[options] IMAGE')
    .argument('<IMAGE>', 'name or ID')
    .option('--no-trunc', 'do not truncate commands and IDs')
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(async (image: string, { format, trunc }: Options) => {
      const store = new Home().images;
      const [entries, { Id }] = await Promise.all([store.history(image), store.inspect(image)]);
      const rows = entries.map((entry, i) => toRow(entry, i === 0 ? Id : null, trunc));
      const text = context.options.quiet ? rows.map(({ ID }) => `${ID}\n`).join('') : formatList(rows, COLUMNS, format);
      process.stdout.write(text);
    });
}

const COLUMNS = [
  ['IMAGE', 'ID'],
  ['CREATED', 'CreatedSince'],
  ['CREATED BY', 'CreatedBy'],
  ['SIZE', 'Size'],
  ['COMMENT', 'Comment'],
] as const;

/** @param id ID of the image that the step made; known only for the last step */
function toRow({ created, createdBy, comment, size }: HistoryEntry, id: string | null, truncate: boolean) {
  const command = createdBy.replace(/\s+/g, ' ');
  return {
    ID: id === null ? '<missing>' : truncate ? shortId(id) : id,
    CreatedAt: created,
    CreatedSince: formatAge(created),
    CreatedBy: truncate && command.length > SHORT_COMMAND ? `${command.slice(0, SHORT_COMMAND - 1)}…` : command,
    Size: formatBytes(size),
    Comment: comment,
  };
}
