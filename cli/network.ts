// tsvm network: private networks, in which containers reach each other by name.
import type { Command } from 'commander';
import {
  Container,
  connectContainer,
  createNetwork,
  disconnectContainer,
  findNetwork,
  listNetworks,
  type Network,
  networkMembers,
  removeNetwork,
  tsvmHome,
} from '../sandbox/index.js';
import { type Context, collect, createCommand } from './command.js';
import { eachName } from './each.js';
import { hasLabels, matchesPattern, parseFilters } from './filter.js';
import { parseLabel } from './labels.js';
import { FORMAT_HELP, formatList } from './listing.js';
import { confirmed } from './prompt.js';
import { fillTemplate } from './template.js';

const COLUMNS = [
  ['NETWORK ID', 'ID'],
  ['NAME', 'Name'],
  ['DRIVER', 'Driver'],
  ['INTERNAL', 'Internal'],
] as const;
const FILTERS = ['name', 'label'];
const DRIVER = 'private';

export function command(context: Context): Command {
  const network = createCommand('tsvm network', context)
    .description('Makes, lists and removes private networks, in which containers reach each other by name.')
    .usage('create|ls|rm|inspect|connect|disconnect|prune');
  const add = (name: string): Command => {
    const subcommand = createCommand(name, context);
    network.addCommand(subcommand);
    return subcommand;
  };
  add('create')
    .description('Makes a network, and says its ID.')
    .argument('<NAME>', 'two or more letters, digits, dots, underscores and hyphens')
    .option('--internal', 'whose members reach each other, and nobody else')
    .option('--label <NAME=VALUE>', 'mark the network', collect)
    .action((name: string, { internal, label = [] }: { internal?: boolean; label?: string[] }) => {
      const labels = Object.fromEntries(label.map(parseLabel));
      process.stdout.write(`${createNetwork(tsvmHome(), name, { internal, labels }).id}\n`);
    });
  add('ls')
    .description('Lists networks; with --quiet only their IDs.')
    .option('-f, --filter <FILTER>', `${FILTERS.join('=, ')}=`, collect)
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(({ filter = [], format }: { filter?: string[]; format?: string }) => {
      const rows = select(filter).map(({ id, name, internal }) => ({
        ID: id.slice(0, 12),
        Name: name,
        Driver: DRIVER,
        Internal: String(internal),
      }));
      if (context.options.quiet) process.stdout.write(rows.map(({ ID }) => `${ID}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, format));
    });
  add('rm')
    .description('Removes networks in which no container runs.')
    .argument('<NAME...>')
    .action((names: string[]) =>
      eachName(names, context, async (name) => {
        await removeNetwork(tsvmHome(), name);
        process.stdout.write(`${name}\n`);
      }),
    );
  add('inspect')
    .description('Says all there is to say of networks, as JSON.')
    .argument('<NAME...>')
    .option('-f, --format <FORMAT>', "json, or a template: '{{.Internal}}'")
    .action(async (names: string[], { format }: { format?: string }) => {
      const found: object[] = [];
      await eachName(names, context, (name) => {
        found.push(describeNetwork(findNetwork(tsvmHome(), name)));
      });
      if (format === undefined) process.stdout.write(`${JSON.stringify(found, null, 4)}\n`);
      else if (format === 'json') process.stdout.write(`${JSON.stringify(found)}\n`);
      else process.stdout.write(found.map((each) => `${fillTemplate(format, each)}\n`).join(''));
    });
  add('connect')
    .description('Puts a container into a network, while it runs too.')
    .argument('<NETWORK>')
    .argument('<CONTAINER>', 'name or ID')
    .action((name: string, reference: string) => connectContainer(Container.find(reference), name));
  add('disconnect')
    .description('Takes a container out of a network, while it runs too.')
    .argument('<NETWORK>')
    .argument('<CONTAINER>', 'name or ID')
    .action((name: string, reference: string) => disconnectContainer(Container.find(reference), name));
  add('prune')
    .description('Removes the networks that no container is in.')
    .option('-f, --force', 'do not ask')
    .action(async ({ force }: { force?: boolean }) => {
      if (!force && !(await confirmed('This will remove all networks that no container is in.'))) return;
      const unused = listNetworks(tsvmHome()).filter(({ name }) => networkMembers(tsvmHome(), name).length === 0);
      if (unused.length > 0) process.stdout.write('Deleted Networks:\n');
      await eachName(
        unused.map(({ name }) => name),
        context,
        async (name) => {
          await removeNetwork(tsvmHome(), name);
          process.stdout.write(`${name}\n`);
        },
      );
    });
  return network;
}

function select(words: readonly string[]): Network[] {
  const filters = parseFilters(words, FILTERS);
  const names = filters.get('name') ?? [];
  return listNetworks(tsvmHome()).filter(
    ({ name, labels }) =>
      (names.length === 0 || names.some((part) => name.includes(part) || matchesPattern(part, name))) &&
      hasLabels(labels, filters.get('label')),
  );
}

/** As Docker describes one. */
function describeNetwork({ name, id, createdAt, internal, labels }: Network) {
  const members = networkMembers(tsvmHome(), name).flatMap((folder) => {
    const { address } = folder.state();
    const container = Container.find(folder.id);
    if (address === undefined) return [];
    return [[folder.id, { Name: container.name ?? '', IPv4Address: `${address}/32` }] as const];
  });
  return {
    Name: name,
    Id: id,
    Created: createdAt,
    Scope: 'local',
    Driver: DRIVER,
    Internal: internal,
    Containers: Object.fromEntries(members),
    Labels: labels,
  };
}
