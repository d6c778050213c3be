// tsvm logs: shows the log of a container.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { parseTime } from '../../options/duration.js';
import { UsageError } from '../../output/errors.js';
import { endWithReader } from '../../output/reader.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm logs -f --tail 20 web
  tsvm logs --since 10m -t web 2>&1 | grep error
  tsvm logs --since 2026-01-31T08:00:00Z --until 2026-01-31T09:00:00Z web`;

interface Options extends NonNullable<Parameters<Container['logs']>[0]> {
  timestamps?: boolean;
}

const OPTIONS: readonly Declaration<Options>[] = [
  { flags: '-f, --follow', help: 'follow the log until the container stops', field: 'follow' },
  {
    flags: '-n, --tail <LINES>',
    help: 'number of lines to show from the end, or all (default: all)',
    field: 'tail',
    values: ['all'],
    parse: parseTail,
  },
  {
    flags: '--since <TIME>',
    help: 'show the log since a time, or a duration ago such as 10m',
    field: 'since',
    parse: parseTime,
  },
  { flags: '--until <TIME>', help: 'show the log before a time, or a duration ago', field: 'until', parse: parseTime },
  { flags: '-t, --timestamps', help: 'show the time of each line', field: 'timestamps' },
];

export function command(context: Context): Command {
  const command = createCommand('tsvm logs', context)
    .description('Shows the log of a container: its stdout on stdout, its stderr on stderr.')
    .usage('[options] CONTAINER')
    .argument('<CONTAINER>', 'name or ID');
  return addOptions(command, OPTIONS)
    .addHelpText('after', EXAMPLES)
    .action(async (reference: string) => {
      const { timestamps, ...options } = readOptions(OPTIONS, command);
      if (options.follow) endWithReader();
      // An entry without a newline is continued by the next one of its stream.
      const atStart = { stdout: true, stderr: true };
      for await (const { log, stream, time } of Container.find(new Home(), reference).logs(options)) {
        const text = timestamps && atStart[stream] ? `${time} ${log}` : log;
        atStart[stream] = log.endsWith('\n');
        if (!process[stream].write(text)) await new Promise((resolve) => process[stream].once('drain', resolve));
      }
    });
}

function parseTail(text: string, flag: string): number | undefined {
  if (text === 'all') return undefined;
  if (!/^\d{1,9}$/.test(text))
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected a number, or all`);
  return Number(text);
}
