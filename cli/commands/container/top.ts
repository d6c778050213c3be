// tsvm top: lists the processes of a container.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';

interface Row {
  UID: string;
  PID: string;
  PPID: string;
  TIME: string;
  CMD: string;
}

const COLUMNS: Columns<Row> = [
  ['UID', 'UID'],
  ['PID', 'PID'],
  ['PPID', 'PPID'],
  ['TIME', 'TIME'],
  ['CMD', 'CMD'],
];

export function command(context: Context): Command {
  return createCommand('tsvm top', context)
    .description('Lists the processes of a container. UIDs and PIDs are those of the guest.')
    .usage('[options] CONTAINER')
    .argument('<CONTAINER>', 'name or ID')
    .option('--format <FORMAT>', FORMAT_HELP)
    .addHelpText('after', '\nExamples:\n  tsvm top web')
    .action(async (reference: string, { format }: { format?: string }) => {
      const processes = await Container.find(new Home(), reference).processes();
      const rows = processes.map(({ uid, pid, parent, cpu, command }) => ({
        UID: String(uid),
        PID: String(pid),
        PPID: String(parent),
        TIME: formatTime(cpu / 1000),
        CMD: command,
      }));
      process.stdout.write(formatList(rows, COLUMNS, format));
    });
}

/** `00:01:30`. */
function formatTime(seconds: number): string {
  const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60];
  return parts.map((part) => String(Math.floor(part)).padStart(2, '0')).join(':');
}
