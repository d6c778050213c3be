// tsvm volume: folders that outlive containers.
import type { Command } from 'commander';
import {
  Home,
  isAnonymous,
  SandboxError,
  type Volume,
  type VolumeStore,
  volumeSize,
} from '../../../sandbox/internal.js';
import { booleanFilter, type Filters, hasLabels, matchesPattern, parseFilters } from '../../options/filter.js';
import { parseLabel } from '../../options/labels.js';
import { FORMAT_HELP, formatList } from '../../output/listing.js';
import { confirmed } from '../../output/prompt.js';
import { formatBytes } from '../../output/table.js';
import { fillTemplate } from '../../output/template.js';
import { type Context, collect, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

const COLUMNS = [
  ['DRIVER', 'Driver'],
  ['VOLUME NAME', 'Name'],
] as const;
const FILTERS = ['name', 'label', 'dangling'];

export function command(context: Context): Command {
  const volume = createCommand('tsvm volume', context)
    .description('Makes, lists and removes volumes: folders that outlive containers.')
    .usage('create|ls|rm|inspect|prune');
  const add = (name: string): Command => {
    const subcommand = createCommand(name, context);
    volume.addCommand(subcommand);
    return subcommand;
  };
  add('create')
    .description('Makes a volume, unless there is one of that name, and says its name.')
    .argument('[NAME]', 'two or more letters, digits, dots, underscores and hyphens; default: one that is drawn')
    .option('-l, --label <NAME=VALUE>', 'mark the volume', collect)
    .action((name: string | undefined, { label = [] }: { label?: string[] }) => {
      const labels = Object.fromEntries(label.map(parseLabel));
      const { volumes } = new Home();
      const volume = name === undefined ? volumes.openAnonymous(labels) : volumes.open(name, labels);
      process.stdout.write(`${volume.name}\n`);
    });
  add('ls')
    .description('Lists volumes; with --quiet only their names.')
    .option('-f, --filter <FILTER>', `${FILTERS.join('=, ')}=`, collect)
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(({ filter = [], format }: { filter?: string[]; format?: string }) => {
      const rows = select(new Home().volumes, parseFilters(filter, FILTERS)).map(describeVolume);
      if (context.options.quiet) process.stdout.write(rows.map(({ Name }) => `${Name}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, format));
    });
  add('rm')
    .description('Removes volumes, with all that is in them.')
    .argument('<NAME...>')
    .option('-f, --force', 'say nothing of those that are not there')
    .action(async (names: string[], { force = false }: { force?: boolean }) => {
      const { volumes } = new Home();
      await forEachName(names, context, async (name) => {
        if (force && volumes.find(name) === undefined) return;
        await volumes.remove(name);
        process.stdout.write(`${name}\n`);
      });
    });
  add('inspect')
    .description('Says all there is to say of volumes, as JSON.')
    .argument('<NAME...>')
    .option('-f, --format <FORMAT>', "json, or a template: '{{.Mountpoint}}'")
    .action(async (names: string[], { format }: { format?: string }) => {
      const { volumes } = new Home();
      const found: object[] = [];
      await forEachName(names, context, (name) => {
        const known = volumes.find(name);
        if (known === undefined) throw new SandboxError('no-such-volume', `no such volume: ${name}`);
        found.push(describeVolume(known));
      });
      if (format === undefined) process.stdout.write(`${JSON.stringify(found, null, 4)}\n`);
      else if (format === 'json') process.stdout.write(`${JSON.stringify(found)}\n`);
      else process.stdout.write(found.map((each) => `${fillTemplate(format, each)}\n`).join(''));
    });
  add('prune')
    .description('Removes the volumes that nobody named and no container has, with all that is in them.')
    .option('-a, --all', 'also those with a name')
    .option('-f, --force', 'do not ask')
    .option('--filter <FILTER>', 'only volumes with these labels: label=NAME[=VALUE]', collect)
    .action(async ({ all = false, force, filter = [] }: { all?: boolean; force?: boolean; filter?: string[] }) => {
      const labels = parseFilters(filter, ['label']);
      const which = all ? 'all volumes' : 'all volumes without a name of yours';
      if (!force && !(await confirmed(`This will remove ${which} that no container has.`))) return;
      await prune(labels, all);
    });
  return volume;
}

async function prune(labels: Filters, all: boolean): Promise<void> {
  const removed: string[] = [];
  let reclaimed = 0;
  const { volumes } = new Home();
  volumes.sweep();
  for (const volume of select(volumes, new Map([...labels, ['dangling', ['true']]]))) {
    if (!all && !isAnonymous(volume)) continue;
    const size = volumeSize(volume);
    try {
      await volumes.remove(volume.name);
    } catch (error) {
      // A container was made with it meanwhile, or somebody else was faster.
      if (['conflict', 'no-such-volume'].includes((error as SandboxError).code)) continue;
      throw error;
    }
    removed.push(volume.name);
    reclaimed += size;
  }
  if (removed.length > 0) process.stdout.write(`Deleted Volumes:\n${removed.join('\n')}\n\n`);
  process.stdout.write(`Total reclaimed space: ${formatBytes(reclaimed)}\n`);
}

function select(volumes: VolumeStore, filters: Filters): Volume[] {
  const dangling = booleanFilter(filters, 'dangling');
  const names = filters.get('name') ?? [];
  return volumes
    .list()
    .filter(
      ({ name, labels }) =>
        (names.length === 0 || names.some((part) => name.includes(part) || matchesPattern(part, name))) &&
        hasLabels(labels, filters.get('label')) &&
        (dangling === undefined || dangling === (volumes.users(name).length === 0)),
    );
}

/** As Docker describes one. */
function describeVolume({ name, mountpoint, createdAt, labels }: Volume) {
  return {
    CreatedAt: createdAt,
    Driver: 'local',
    Labels: labels,
    Mountpoint: mountpoint,
    Name: name,
    Options: {},
    Scope: 'local',
  };
}
