// tsvm network inspect: prints the details of networks.
import type { Command } from 'commander';
import { Container, Home, isRunning, type Network } from '../../../sandbox/internal.js';
import { formatObjects } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';
import { DRIVER, SCOPE } from './select.js';

export function command(context: Context): Command {
  return createCommand('tsvm network inspect', context)
    .description('Prints all details of networks as JSON.')
    .usage('[options] NETWORK...')
    .argument('<NETWORK...>', 'names or IDs')
    .option('-f, --format <FORMAT>', "json, or a template such as '{{.Internal}}' (default: indented JSON)")
    .action(async (names: string[], { format }: { format?: string }) => {
      const found: object[] = [];
      await forEachName(names, context, (name) => {
        found.push(describeNetwork(new Home().networks.find(name)));
      });
      process.stdout.write(formatObjects(found, format));
    });
}

/** The details of a network, in Docker's form. */
function describeNetwork({ name, id, createdAt, internal, labels }: Network) {
  const members = new Home().networks.members(name).flatMap((id) => {
    const container = Container.find(new Home(), id);
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
