// tsvm stats: shows the resource usage of containers, once or live.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { Container, Home, type Usage } from '../../../sandbox/internal.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { endWithReader } from '../../output/reader.js';
import { formatBytes } from '../../output/table.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm stats
  tsvm stats --no-stream --format '{{.Name}} {{.MemUsage}}' web

CPU, MEM, NET and BLOCK are measured in the guest. DISK is the writable layer. The HOST columns are what the
machine uses on the host, by its cgroup if it has one. GUEST MEM is the guest's part of that: it falls when the guest frees memory.`;

/** Milliseconds between two samples. */
const INTERVAL = 1000;

interface Row {
  ID: string;
  Name: string;
  CPUPerc: string;
  MemUsage: string;
  MemPerc: string;
  NetIO: string;
  BlockIO: string;
  PIDs: string;
  Disk: string;
  HostCPUPerc: string;
  HostMem: string;
  HostPIDs: string;
  HostBlockIO: string;
  GuestMem: string;
}

const COLUMNS: Columns<Row> = [
  ['CONTAINER ID', 'ID'],
  ['NAME', 'Name'],
  ['CPU %', 'CPUPerc'],
  ['MEM USAGE / LIMIT', 'MemUsage'],
  ['MEM %', 'MemPerc'],
  ['NET I/O', 'NetIO'],
  ['BLOCK I/O', 'BlockIO'],
  ['PIDS', 'PIDs'],
  ['DISK', 'Disk'],
  ['HOST CPU %', 'HostCPUPerc'],
  ['HOST MEM', 'HostMem'],
  ['HOST PIDS', 'HostPIDs'],
  ['HOST BLOCK I/O', 'HostBlockIO'],
  ['GUEST MEM', 'GuestMem'],
];

interface Options {
  all?: boolean;
  stream: boolean;
  format?: string;
}

export function command(context: Context): Command {
  return createCommand('tsvm stats', context)
    .description('Shows the resource usage of containers: the given ones, or all that run.')
    .usage('[options] [CONTAINER...]')
    .argument('[CONTAINER...]', 'names or IDs')
    .option('-a, --all', 'show all containers, not only running ones')
    .option('--no-stream', 'print one result, then exit')
    .option('--format <FORMAT>', FORMAT_HELP)
    .addHelpText('after', EXAMPLES)
    .action((references: string[], options: Options) => show(references, options));
}

async function show(references: readonly string[], { all = false, stream, format }: Options): Promise<void> {
  if (stream) endWithReader();
  // A container that is named must run. Without names, all running ones are shown.
  let last = await look(references);
  for (;;) {
    await sleep(INTERVAL);
    const now = await look(references);
    const rows = [...now].map(([container, usage]) => toRow(container, usage, last.get(container)));
    if (all && references.length === 0) rows.push(...idleRows());
    const text = formatList(rows, COLUMNS, format);
    process.stdout.write(stream && process.stdout.isTTY ? `\x1b[H\x1b[J${text}` : text);
    if (!stream) return;
    last = now;
  }
}

const known = new Map<string, Container>();

async function look(references: readonly string[]): Promise<Map<Container, Usage>> {
  const ids = references.length > 0 ? references : running();
  const found = await Promise.all(
    ids.map(async (reference) => {
      const container = known.get(reference) ?? Container.find(new Home(), reference);
      known.set(reference, container);
      try {
        return [[container, await container.usage()] as const];
      } catch (error) {
        if (references.length > 0) throw error;
        return [];
      }
    }),
  );
  return new Map(found.flat());
}

function running(): string[] {
  return Container.list(new Home())
    .filter(({ state }) => state.status === 'running')
    .map(({ config }) => config.id);
}

/** Rows of the stopped containers. */
function idleRows(): Row[] {
  const unknown = Object.fromEntries(COLUMNS.map(([, field]) => [field, '--'])) as unknown as Row;
  return Container.list(new Home())
    .filter(({ state }) => state.status !== 'running')
    .map(({ config, name = '' }) => ({ ...unknown, ID: config.id.slice(0, 12), Name: name }));
}

function toRow(container: Container, usage: Usage, before: Usage | undefined): Row {
  const percent = (of: (usage: Usage) => number) => {
    if (before === undefined || usage.time === before.time) return '--';
    return `${((100 * (of(usage) - of(before))) / (usage.time - before.time)).toFixed(2)}%`;
  };
  const { disk } = usage.machine;
  return {
    ID: container.id.slice(0, 12),
    Name: container.name ?? '',
    CPUPerc: percent(({ cpu }) => cpu),
    MemUsage: `${formatBytes(usage.memory)} / ${formatBytes(usage.memoryLimit)}`,
    MemPerc: `${((100 * usage.memory) / usage.memoryLimit).toFixed(2)}%`,
    NetIO: `${formatBytes(usage.networkReceived)} / ${formatBytes(usage.networkSent)}`,
    BlockIO: `${formatBytes(usage.blockRead)} / ${formatBytes(usage.blockWritten)}`,
    PIDs: String(usage.pids),
    Disk: `${formatBytes(usage.layer)} / ${formatBytes(usage.layerLimit)}`,
    HostCPUPerc: percent(({ machine }) => machine.cpu),
    HostMem: formatBytes(usage.machine.memory),
    HostPIDs: String(usage.machine.pids),
    HostBlockIO: disk === undefined ? '--' : `${formatBytes(disk.read)} / ${formatBytes(disk.written)}`,
    GuestMem: formatBytes(usage.machine.guestMemory),
  };
}
