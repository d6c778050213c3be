// tsvm snapshot inspect: prints the details of snapshots.
import type { Command } from 'commander';
import { Home, type Snapshot, SnapshotStore } from '../../../sandbox/internal.js';
import { formatObjects } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm snapshot inspect', context)
    .description('Prints all details of snapshots as JSON.')
    .usage('[options] SNAPSHOT...')
    .argument('<SNAPSHOT...>', 'names')
    .option('-f, --format <FORMAT>', "json, or a template such as '{{.Size}}' (default: indented JSON)")
    .action(async (names: string[], { format }: { format?: string }) => {
      const store = new SnapshotStore(new Home());
      const found: object[] = [];
      await forEachName(names, context, async (name) => {
        found.push(await describeSnapshot(store.find(name)));
      });
      process.stdout.write(formatObjects(found, format));
    });
}

async function describeSnapshot(snapshot: Snapshot): Promise<object> {
  const { name, id, createdAt, source, path, config } = snapshot;
  const { image, spec, labels } = config;
  return {
    Name: name,
    Id: id,
    Created: createdAt,
    Container: { Id: config.id, Name: source },
    Image: image,
    Config: { Image: spec.image, Hostname: config.hostname, Labels: labels },
    Path: path,
    Size: await snapshot.size(),
  };
}
