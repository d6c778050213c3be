// tsvm ps: lists containers.
import type { Command } from 'commander';
import { printableLine } from '../../../printable/index.js';
import { Container, type ContainerInfo, type Health, Home } from '../../../sandbox/internal.js';
import { parseContainerFilters } from '../../options/container-filters.js';
import { parseCount } from '../../options/number.js';
import { type Columns, FORMAT_HELP, formatLabels, formatList } from '../../output/listing.js';
import { formatPorts } from '../../output/ports.js';
import { formatAge, formatBytes, formatDuration } from '../../output/table.js';
import { type Context, collect, createCommand, openLog } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm ps -a
  tsvm ps -q --filter status=running --filter label=tier=web
  tsvm ps -a --format '{{.Names}}: {{.Status}}'


Filters: name=, id=, label=NAME[=VALUE], status=, exited=CODE, ancestor=IMAGE, before=, since=CONTAINER,
publish=PORT[/udp], expose=PORT[/udp], network=NAME, health=starting|healthy|unhealthy|none.`;

/** Characters of a command to show. */
const COMMAND_WIDTH = 20;

interface Options {
  all?: boolean;
  filter?: string[];
  format?: string;
  last?: number;
  latest?: boolean;
  size?: boolean;
  trunc: boolean;
}

export function command(context: Context): Command {
  return createCommand('tsvm ps', context)
    .description('Lists running containers, or all. With --quiet, prints only their IDs.')
    .usage('[options]')
    .option('-a, --all', 'show all containers, not only running ones')
    .option('-f, --filter <NAME=VALUE>', 'filter the output', collect)
    .option('--format <FORMAT>', FORMAT_HELP)
    .option('-n, --last <N>', 'show the N last created containers, running or not', (text) =>
      parseCount(text, '--last'),
    )
    .option('-l, --latest', 'show the last created container, running or not')
    .option('-s, --size', 'show the disk usage of each container')
    .option('--no-trunc', 'do not truncate IDs and commands')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      process.stdout.write(listContainers(options, context.options.quiet));
      if (!options.all) return;
      const log = await openLog(context);
      for (const { shortId } of new Home().containers.damaged()) {
        log.warn(`the record of container ${shortId} is damaged: tsvm rm removes it`);
      }
    });
}

const COLUMNS: Columns<Row> = [
  ['CONTAINER ID', 'ID'],
  ['IMAGE', 'Image'],
  ['COMMAND', 'Command'],
  ['CREATED', 'RunningFor'],
  ['STATUS', 'Status'],
  ['PORTS', 'Ports'],
  ['NAMES', 'Names'],
];

interface Row {
  ID: string;
  Image: string;
  Command: string;
  CreatedAt: string;
  RunningFor: string;
  State: string;
  Status: string;
  Ports: string;
  Names: string;
  Labels: string;
  /** `kvm`, or `tcg` for an emulated CPU. Empty if it does not run. */
  Accelerator: string;
  /** Empty unless asked for, as it takes a walk over all files. */
  Size: string;
}

function listContainers(
  { all, filter = [], format, last, latest, size, trunc }: Options,
  quiet: boolean | undefined,
): string {
  const count = latest ? 1 : last;
  const fits = parseContainerFilters(filter);
  const asksForStatus = filter.some((text) => /^(status|exited)=/.test(text));
  const shown = Container.list(new Home())
    .filter((info) => fits(info))
    .filter(({ state }) => all || asksForStatus || count !== undefined || isAlive(state.status))
    .slice(0, count);
  const sized = size === true || /\.Size\b/.test(format ?? '');
  const rows = shown.map((info) => toRow(info, trunc, sized));
  if (quiet && format === undefined) return rows.map(({ ID }) => `${ID}\n`).join('');
  return formatList(rows, size ? [...COLUMNS, ['SIZE', 'Size']] : COLUMNS, format);
}

function isAlive(status: string): boolean {
  return status === 'running' || status === 'paused' || status === 'restarting';
}

function toRow({ config, state, name }: ContainerInfo, trunc: boolean, sized: boolean): Row {
  const words = printableLine(config.argv.join(' '));
  const short = trunc && words.length > COMMAND_WIDTH ? `${words.slice(0, COMMAND_WIDTH - 1)}…` : words;
  return {
    ID: trunc ? config.id.slice(0, 12) : config.id,
    Image: config.spec.image,
    Command: `"${short}"`,
    CreatedAt: config.created,
    RunningFor: formatAge(config.created),
    State: state.status,
    Status: formatStatus({ config, state }),
    Ports: formatPorts({ config, state }),
    Names: name ?? '',
    Labels: formatLabels(config.labels),
    Accelerator: state.accelerator ?? '',
    Size: sized ? sizeOf(config.id) : '',
  };
}

function sizeOf(id: string): string {
  try {
    return formatBytes(Container.find(new Home(), id).diskUsage);
  } catch {
    // It was removed meanwhile.
    return formatBytes(0);
  }
}

function formatStatus({ state }: ContainerInfo): string {
  const { status, startedAt, finishedAt, exitCode, unresponsive, health } = state;
  switch (status) {
    case 'created':
      return 'Created';
    case 'running':
      return `Up ${formatDuration(startedAt!)}${unresponsive ? ' (unresponsive)' : formatHealth(health)}`;
    case 'paused':
      return `Up ${formatDuration(startedAt!)} (Paused)`;
    case 'suspended':
      return 'Suspended';
    case 'restarting':
      return `Restarting (${exitCode}) ${formatAge(finishedAt!)}`;
    case 'exited':
      return `Exited (${exitCode})${finishedAt === undefined ? '' : ` ${formatAge(finishedAt)}`}`;
  }
}

function formatHealth(health: Health | undefined): string {
  if (health === undefined) return '';
  return health.status === 'starting' ? ' (health: starting)' : ` (${health.status})`;
}
