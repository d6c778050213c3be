// tsvm run --snapshot: runs a clone of a container in a snapshot.
import type { Command } from 'commander';
import { type CloneOptions, Container, Home } from '../../../sandbox/internal.js';
import type { DetachKeys } from '../../foreground/detach-keys.js';
import { startAttached } from '../../foreground/foreground.js';
import { makeAndTake } from '../../foreground/signals.js';
import { CIDFILE_OPTION, CONTAINER_OPTIONS } from '../../options/container-options.js';
import { type Declaration, readOptions } from '../../options/declaration.js';

import { NETWORK_OPTIONS } from '../../options/network-options.js';
import { snapshotNames } from '../../options/values.js';
import { UsageError } from '../../output/errors.js';
import { startWarnings } from '../../output/warnings.js';
import { type Context, defined, openLog } from '../command.js';
import { writeIdFile } from './new-container.js';

/** The options of a new container that a clone can have of its own. */
const OWN = ['--name', '--rm', '--label', '--label-file', '--restart', '--hostname', '--publish'];

export const SNAPSHOT_OPTION: Declaration<{ snapshot?: string }> = {
  flags: '--snapshot <NAME>',
  help: 'run a clone of the container in a snapshot, in place of an image',
  field: 'snapshot',
  values: snapshotNames,
  parse: (name) => name,
};

interface Options {
  snapshot: string;
  detach: boolean;
  keys: DetachKeys;
}

/** @param words what follows the options, which must be nothing */
export async function runSnapshot(
  words: readonly string[],
  { snapshot, detach, keys }: Options,
  command: Command,
  context: Context,
): Promise<number> {
  if (words.length > 0) throw new UsageError('a snapshot continues its own processes: give no image and no command');
  const options = cloneOptions(command);
  const log = await openLog(context);
  const { cidfile } = readOptions([CIDFILE_OPTION], command);
  const make = async () => {
    const container = await Container.restore(new Home(), snapshot, options);
    if (cidfile !== undefined) await writeIdFile(container, cidfile);
    return container;
  };
  return await makeAndTake(make, async (container) => {
    const { supervisor } = context.early;
    const how = { ...(supervisor && { supervisor }), ...startWarnings(log) };
    if (!detach) return await startAttached(container, { stdin: container.config.spec.stdin === true, keys, ...how });
    await container.start(how);
    process.stdout.write(`${container.id}\n`);
    return 0;
  });
}

/** @throws UsageError for an option whose value is in the snapshot */
function cloneOptions(command: Command): CloneOptions {
  for (const { flags } of [...CONTAINER_OPTIONS, ...NETWORK_OPTIONS]) {
    const option = command.options.find((each) => each.flags === flags);
    const isGiven = option !== undefined && command.getOptionValueSource(option.attributeName()) === 'cli';
    if (isGiven && !OWN.includes(option.long ?? '')) {
      throw new UsageError(`${option.long} cannot be given with --snapshot: it is as in the snapshot`);
    }
  }
  const { name, autoRemove, labels, restart, hostname } = readOptions(CONTAINER_OPTIONS, command);
  const { publish } = readOptions(NETWORK_OPTIONS, command);
  return defined({ name, autoRemove, labels, restart, hostname, publish });
}
