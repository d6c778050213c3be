// tsvm df: shows disk usage.
import type { Command } from 'commander';
import { buildStore } from '../../../images/build.js';
import type { StoreUsage } from '../../../images/index.js';
import {
  Container,
  containerDiskUsage,
  Home,
  homeSize,
  isRunning,
  SnapshotStore,
  volumeSize,
} from '../../../sandbox/internal.js';
import { TemplateStore } from '../../../sandbox/machines.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { formatBytes } from '../../output/table.js';
import { type Context, createCommand } from '../command.js';
import { type ImageRow, imageRow } from '../image/images.js';

export function command(context: Context): Command {
  return createCommand('tsvm df', context)
    .description('Shows the disk usage of images, containers, volumes, snapshots, templates and the cache of builds.')
    .option('--verbose', 'show each image, with the size that it shares with others')
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(async ({ verbose, format }: { verbose?: boolean; format?: string }) => {
      const home = new Home();
      const store = home.images;
      if (verbose)
        process.stdout.write(
          formatList(
            (await store.list()).map((image) => imageRow(image, true)),
            IMAGE_COLUMNS,
            format,
          ),
        );
      else {
        const { images, temporary } = await store.usage();
        const unfinished = await home.volumes.unfinished();
        const kinds = [
          toRow('Images', images),
          toRow('Containers', containersUsage(home)),
          toRow('Local Volumes', await volumesUsage(home)),
          toRow('Snapshots', await snapshotsUsage(home)),
          toRow('Templates', templatesUsage(home)),
          toRow('Build Cache', cacheUsage(home)),
          toRow('Temporary', {
            total: temporary.total + unfinished.total,
            size: temporary.size + unfinished.size,
            active: 0,
            reclaimable: 0,
          }),
        ];
        process.stdout.write(formatList(kinds, COLUMNS, format));
        const size = format === undefined ? await homeSize(home.path) : undefined;
        if (size !== undefined) {
          const [used, limit] = [formatBytes(size.used), formatBytes(size.limit)];
          process.stdout.write(`\nHome: ${used} of ${limit} (TSVM_HOME_SIZE)\n`);
        }
      }
    });
}

type Usage = StoreUsage['images'];

/** Only what no image has counts. */
function cacheUsage(home: Home): Usage {
  const { total, size } = buildStore(home.path).usage();
  return { total, size, active: 0, reclaimable: size };
}

/** The bytes of one object, and whether it is in use. */
interface Item {
  size: number;
  active: boolean;
}

function containersUsage(home: Home): Usage {
  const containers = Container.list(home).flatMap(({ config, state }): Item[] => {
    try {
      return [{ size: Container.find(home, config.id).diskUsage, active: isRunning(state) }];
    } catch {
      // It was removed meanwhile.
      return [];
    }
  });
  const damaged = home.containers.damaged().map((folder) => ({ size: containerDiskUsage(folder), active: false }));
  return usageOf([...containers, ...damaged]);
}

async function volumesUsage({ volumes }: Home): Promise<Usage> {
  const items: Item[] = [];
  for (const volume of volumes.list()) {
    items.push({ size: await volumeSize(volume), active: volumes.users(volume.name).length > 0 });
  }
  return usageOf(items);
}

/** A snapshot with a name is kept until it is removed: it counts as in use. */
async function snapshotsUsage(home: Home): Promise<Usage> {
  const items: Item[] = [];
  for (const snapshot of new SnapshotStore(home).list()) items.push({ size: await snapshot.size(), active: true });
  return usageOf(items);
}

/** Each can be made again. */
function templatesUsage(home: Home): Usage {
  return usageOf(new TemplateStore(home.templates).list().map(({ size }) => ({ size, active: false })));
}

function usageOf(items: Item[]): Usage {
  const sum = (some: Item[]) => some.reduce((total, { size }) => total + size, 0);
  const active = items.filter((item) => item.active);
  return { total: items.length, active: active.length, size: sum(items), reclaimable: sum(items) - sum(active) };
}

const COLUMNS: Columns<ReturnType<typeof toRow>> = [
  ['TYPE', 'Type'],
  ['TOTAL', 'TotalCount'],
  ['ACTIVE', 'Active'],
  ['SIZE', 'Size'],
  ['RECLAIMABLE', 'Reclaimable'],
];

function toRow(Type: string, { total, active, size, reclaimable }: Usage) {
  const percent = size > 0 ? ` (${Math.round((100 * reclaimable) / size)}%)` : '';
  return {
    Type,
    TotalCount: `${total}`,
    Active: `${active}`,
    Size: formatBytes(size),
    Reclaimable: formatBytes(reclaimable) + percent,
  };
}

const IMAGE_COLUMNS: Columns<ImageRow> = [
  ['REPOSITORY', 'Repository'],
  ['TAG', 'Tag'],
  ['IMAGE ID', 'ID'],
  ['CREATED', 'CreatedSince'],
  ['SIZE', 'Size'],
  ['SHARED SIZE', 'SharedSize'],
  ['UNIQUE SIZE', 'UniqueSize'],
];
