// tsvm events: shows events of containers.
import type { Command } from 'commander';
import { printableJson, printableLine } from '../../../printable/index.js';
import { type ContainerEvent, Home } from '../../../sandbox/internal.js';
import { addOptions, type Declaration, readOptions, text, texts } from '../../options/declaration.js';
import { parseTime } from '../../options/duration.js';
import { type Filters, parseFilters } from '../../options/filter.js';
import { endWithReader } from '../../output/reader.js';
import { fillTemplate } from '../../output/template.js';
import { type Context, createCommand } from '../command.js';

const FILTERS = ['container', 'event', 'image', 'type'];

const EXAMPLES = `
Examples:
  tsvm events --filter event=die --format '{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}'
  tsvm events --since 1h --until 0s

Filters: container=NAME|ID, event=create|start|die|oom|kill|pause|unpause|suspend|resume|snapshot|rollback|rename|commit|destroy|health_status, image=, type=container.`;

interface Options {
  since?: number;
  until?: number;
  filter?: readonly string[];
  format?: string;
}

const OPTIONS: readonly Declaration<Options>[] = [
  {
    flags: '--since <TIME>',
    help: 'show events since a time, or a duration ago such as 10m',
    field: 'since',
    parse: parseTime,
  },
  { flags: '--until <TIME>', help: 'show events until a time, then exit', field: 'until', parse: parseTime },
  { flags: '-f, --filter <NAME=VALUE>', help: 'filter the output', field: 'filter', parse: texts },
  { flags: '--format <FORMAT>', help: 'json, or a template such as {{.Action}}', field: 'format', parse: text },
];

export function command(context: Context): Command {
  const command = createCommand('tsvm events', context);
  return addOptions(command, OPTIONS)
    .description('Shows events of containers from now on, or since a time.')
    .usage('[options]')
    .addHelpText('after', EXAMPLES)
    .action(async () => {
      const { since = Date.now(), filter = [], format, ...until } = readOptions(OPTIONS, command);
      const filters = parseFilters(filter, FILTERS);
      endWithReader();
      for await (const event of new Home().events.read({ since, ...until })) {
        if (fits(event, filters)) process.stdout.write(`${formatEvent(event, format)}\n`);
      }
    });
}

function fits({ Type, Action, Actor }: ContainerEvent, filters: Filters): boolean {
  const any = (key: string, test: (value: string) => boolean) => filters.get(key)?.some(test) ?? true;
  return (
    any('type', (value) => value === Type) &&
    // `health_status` is a part of `health_status: healthy`.
    any('event', (value) => [Action, Action.replace(/:.*/, '')].includes(value)) &&
    any('image', (value) => value === Actor.Attributes.image) &&
    any('container', (value) => value === Actor.Attributes.name || Actor.ID.startsWith(value))
  );
}

function formatEvent(event: ContainerEvent, format: string | undefined): string {
  if (format === 'json') return printableJson(event);
  if (format !== undefined) return fillTemplate(format, event);
  const { time, Type, Action, Actor } = event;
  const attributes = Object.entries(Actor.Attributes).map(([name, value]) => `${name}=${value}`);
  return printableLine(`${time} ${Type} ${Action} ${Actor.ID} (${attributes.join(', ')})`);
}
