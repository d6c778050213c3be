// tsvm network: private networks, in which containers reach each other by name.
import type { Command } from 'commander';
import {
  Container,
  connectContainer,
  disconnectContainer,
  Home,
  isRunning,
  type Network,
  type SandboxError,
} from '../../../sandbox/internal.js';
import { booleanFilter, hasLabels, matchesPattern, parseFilters } from '../../options/filter.js';
import { parseLabel } from '../../options/labels.js';
import { FORMAT_HELP, formatLabels, formatList } from '../../output/listing.js';
import { confirmed } from '../../output/prompt.js';
import { fillTemplate } from '../../output/template.js';
import { type Context, collect, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

const COLUMNS = [
  ['NETWORK ID', 'ID'],
  ['NAME', 'Name'],
  ['DRIVER', 'Driver'],
  ['SCOPE', 'Scope'],
] as const;
const FILTERS = ['name', 'id', 'label', 'driver', 'dangling'];
const DRIVER = 'private';
const SCOPE = 'local';

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
      process.stdout.write(`${new Home().networks.create(name, { internal, labels }).id}\n`);
    });
  add('ls')
    .description('Lists networks; with --quiet only their IDs.')
    .option('-f, --filter <FILTER>', `${FILTERS.join('=, ')}=`, collect)
    .option('--format <FORMAT>', FORMAT_HELP)
    .option('--no-trunc', 'whole IDs')
    .action(({ filter = [], format, trunc }: { filter?: string[]; format?: string; trunc: boolean }) => {
      const rows = select(filter).map(({ id, name, internal, createdAt, labels }) => ({
        ID: trunc ? id.slice(0, 12) : id,
        Name: name,
        Driver: DRIVER,
        Scope: SCOPE,
        Internal: String(internal),
        CreatedAt: createdAt,
        Labels: formatLabels(labels),
      }));
      if (context.options.quiet) process.stdout.write(rows.map(({ ID }) => `${ID}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, format));
    });
  add('rm')
    .description('Removes networks in which no container runs.')
    .argument('<NETWORK...>', 'names or IDs')
    .option('-f, --force', 'say nothing of those that are not there')
    .action((names: string[], { force = false }: { force?: boolean }) =>
      forEachName(names, context, async (name) => {
        try {
          await new Home().networks.remove(name);
        } catch (error) {
          if (force && (error as SandboxError).code === 'no-such-network') return;
          throw error;
        }
        process.stdout.write(`${name}\n`);
      }),
    );
  add('inspect')
    .description('Says all there is to say of networks, as JSON.')
    .argument('<NETWORK...>', 'names or IDs')
    .option('-f, --format <FORMAT>', "json, or a template: '{{.Internal}}'")
    .action(async (names: string[], { format }: { format?: string }) => {
      const found: object[] = [];
      await forEachName(names, context, (name) => {
        found.push(describeNetwork(new Home().networks.find(name)));
      });
      if (format === undefined) process.stdout.write(`${JSON.stringify(found, null, 4)}\n`);
      else if (format === 'json') process.stdout.write(`${JSON.stringify(found)}\n`);
      else process.stdout.write(found.map((each) => `${fillTemplate(format, each)}\n`).join(''));
    });
  add('connect')
    .description('Puts a container into a network, while it runs too.')
    .argument('<NETWORK>', 'name or ID')
    .argument('<CONTAINER>', 'name or ID')
    .option('--alias <NAME>', 'one more name in this network', collect)
    .action((name: string, reference: string, { alias }: { alias?: string[] }) =>
      connectContainer(Container.find(reference), name, alias),
    );
  add('disconnect')
    .description('Takes a container out of a network, while it runs too.')
    .argument('<NETWORK>', 'name or ID')
    .argument('<CONTAINER>', 'name or ID')
    .action((name: string, reference: string) => disconnectContainer(Container.find(reference), name));
  add('prune')
    .description('Removes the networks that no container is in.')
    .option('-f, --force', 'do not ask')
    .option('--filter <FILTER>', 'only networks with these labels: label=NAME[=VALUE]', collect)
    .action(async ({ force, filter = [] }: { force?: boolean; filter?: string[] }) => {
      const labels = parseFilters(filter, ['label']).get('label');
      const warning = 'This will remove all custom networks not used by at least one container.';
      if (!force && !(await confirmed(warning))) return;
      const unused = select(['dangling=true']).filter((each) => hasLabels(each.labels, labels));
      if (unused.length > 0) process.stdout.write('Deleted Networks:\n');
      await forEachName(
        unused.map(({ name }) => name),
        context,
        async (name) => {
          await new Home().networks.remove(name);
          process.stdout.write(`${name}\n`);
        },
      );
    });
  return network;
}

function select(words: readonly string[]): Network[] {
  const { networks } = new Home();
  const filters = parseFilters(words, FILTERS);
  const dangling = booleanFilter(filters, 'dangling');
  const fits = (filter: string, matches: (value: string) => boolean) => filters.get(filter)?.some(matches) ?? true;
  return networks
    .list()
    .filter(
      ({ name, id, labels }) =>
        fits('name', (part) => name.includes(part) || matchesPattern(part, name)) &&
        fits('id', (part) => id.startsWith(part)) &&
        fits('driver', (driver) => driver === DRIVER) &&
        hasLabels(labels, filters.get('label')) &&
        (dangling === undefined || dangling === (networks.members(name).length === 0)),
    );
}

/** As Docker describes one. */
function describeNetwork({ name, id, createdAt, internal, labels }: Network) {
  const members = new Home().networks.members(name).flatMap((id) => {
    const container = Container.find(id);
    const { state } = container;
    const { address } = state;
    if (!isRunning(state) || address === undefined) return [];
    return [[id, { Name: container.name ?? '', IPv4Address: `${address}/32` }] as const];
  });
  return {
    Name: name,
    Id: id,
    Created: createdAt,
    Scope: SCOPE,
    Driver: DRIVER,
    Internal: internal,
    Containers: Object.fromEntries(members),
    Labels: labels,
  };
}
