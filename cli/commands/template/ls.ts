// tsvm template ls: lists templates.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { type Template, TemplateStore } from '../../../sandbox/machines.js';
import { FORMAT_HELP, formatList } from '../../output/listing.js';
import { formatAge, formatBytes } from '../../output/table.js';
import { type Context, createCommand } from '../command.js';

const COLUMNS = [
  ['TEMPLATE', 'Name'],
  ['CPUS', 'CPUs'],
  ['MEMORY', 'Memory'],
  ['DEVICES', 'Devices'],
  ['CREATED', 'CreatedSince'],
  ['USED', 'UsedSince'],
  ['SIZE', 'Size'],
] as const;

export function command(context: Context): Command {
  return createCommand('tsvm template ls', context)
    .description('Lists templates, the last used first. With --quiet, prints only their names.')
    .usage('[options]')
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(({ format }: { format?: string }) => {
      const templates = new TemplateStore(new Home().templates).list();
      if (context.options.quiet) process.stdout.write(templates.map(({ name }) => `${name}\n`).join(''));
      else process.stdout.write(formatList(templates.map(describe), COLUMNS, format));
    });
}

function describe({ name, shape, created, used, size }: Template) {
  const devices = [
    ...(shape.hasLayer ? ['layer'] : []),
    ...(shape.hasNetwork ? ['network'] : []),
    ...(shape.hasShares ? ['shares'] : []),
  ];
  return {
    Name: name.slice(0, 12),
    CPUs: String(shape.cpus),
    Memory: formatBytes(shape.memory),
    Devices: devices.join(',') || '-',
    CreatedSince: formatAge(created),
    UsedSince: formatAge(new Date(used).toISOString()),
    Size: formatBytes(size),
  };
}
