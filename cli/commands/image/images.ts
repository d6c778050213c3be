// tsvm images: lists images.
import type { Command } from 'commander';
import { ImageError, type ImageSummary } from '../../../images/index.js';
import { Home } from '../../../sandbox/internal.js';
import { booleanFilter, type Filters, hasLabels, matchesPattern, parseFilters } from '../../options/filter.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { formatAge, formatBytes, shortId } from '../../output/table.js';
import { type Context, collect, createCommand } from '../command.js';

const FILTERS = ['reference', 'dangling', 'label', 'before', 'since'];

interface Options {
  format?: string;
  filter?: string[];
  digests?: boolean;
  trunc: boolean;
}

export function command(context: Context): Command {
  return createCommand('tsvm images', context)
    .description('Lists images. With --quiet, prints only their IDs. Sizes are bytes on disk.')
    .usage('[options] [NAME[:TAG]]')
    .argument('[NAME]', 'list only images of this name')
    .option('-f, --filter <FILTER>', `filter the output: ${FILTERS.join('=, ')}=`, collect)
    .option('--digests', 'show the digests of manifests')
    .option('--no-trunc', 'do not truncate IDs')
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(async (name: string | undefined, options: Options) => {
      const filters = parseFilters(options.filter ?? [], FILTERS);
      const images = select(await new Home().images.list(), name, filters);
      const rows = images.map((image) => imageRow(image, options.trunc));
      process.stdout.write(print(rows, options, context.options.quiet));
    });
}

export interface ImageRow {
  Repository: string;
  Tag: string;
  Digest: string;
  ID: string;
  CreatedAt: string;
  CreatedSince: string;
  Size: string;
  SharedSize: string;
  UniqueSize: string;
}

const COLUMNS: Columns<ImageRow> = [
  ['REPOSITORY', 'Repository'],
  ['TAG', 'Tag'],
  ['DIGEST', 'Digest'],
  ['IMAGE ID', 'ID'],
  ['CREATED', 'CreatedSince'],
  ['SIZE', 'Size'],
];

/** The row of an image in a list. */
export function imageRow(
  { name, tag, manifest, digest, created, size, sharedSize }: ImageSummary,
  truncate: boolean,
): ImageRow {
  return {
    Repository: name ?? '<none>',
    Tag: tag ?? '<none>',
    Digest: manifest ?? '<none>',
    ID: truncate ? shortId(digest) : digest,
    CreatedAt: created,
    CreatedSince: formatAge(created),
    Size: formatBytes(size),
    SharedSize: formatBytes(sharedSize),
    UniqueSize: formatBytes(size - sharedSize),
  };
}

function print(rows: ImageRow[], { format, digests }: Options, quiet: boolean | undefined): string {
  if (quiet) return rows.map(({ ID }) => `${ID}\n`).join('');
  return formatList(
    rows,
    COLUMNS.filter(([, field]) => digests || field !== 'Digest'),
    format,
  );
}

function select(images: ImageSummary[], name: string | undefined, filters: Filters): ImageSummary[] {
  const dangling = booleanFilter(filters, 'dangling');
  const references = [...(filters.get('reference') ?? []), ...(name === undefined ? [] : [name])];
  const before = (filters.get('before') ?? []).map((text) => timeOf(images, text));
  const since = (filters.get('since') ?? []).map((text) => timeOf(images, text));
  return images.filter(
    (image) =>
      (dangling === undefined || dangling === (image.name === null)) &&
      (references.length === 0 || references.some((pattern) => isNamed(image, pattern))) &&
      hasLabels(image.labels, filters.get('label')) &&
      before.every((time) => Date.parse(image.created) < time) &&
      since.every((time) => Date.parse(image.created) > time),
  );
}

function isNamed({ name, tag }: ImageSummary, pattern: string): boolean {
  return name !== null && (matchesPattern(pattern, name) || matchesPattern(pattern, `${name}:${tag}`));
}

/** The creation time of an image, by name or ID, in milliseconds since the epoch. */
function timeOf(images: ImageSummary[], text: string): number {
  const image =
    images.find((image) => isNamed(image, text.includes(':') ? text : `${text}:latest`)) ??
    images.find(({ digest }) => digest.startsWith(text) || digest.slice('sha256:'.length).startsWith(text));
  if (image === undefined) throw new ImageError('unknown-image', `No such image: ${text}`);
  return Date.parse(image.created);
}
