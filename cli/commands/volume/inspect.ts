// tsvm volume inspect: prints the details of volumes.
import type { Command } from 'commander';
import { Home, SandboxError, type Volume, type VolumeStore } from '../../../sandbox/internal.js';
import { formatObjects } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';
import { describeVolume } from './select.js';

export function command(context: Context): Command {
  return createCommand('tsvm volume inspect', context)
    .description('Prints all details of volumes as JSON.')
    .usage('[options] VOLUME...')
    .argument('<VOLUME...>', 'names')
    .option('-f, --format <FORMAT>', "json, or a template such as '{{.Mountpoint}}' (default: indented JSON)")
    .action(async (names: string[], { format }: { format?: string }) => {
      const { volumes } = new Home();
      const found: object[] = [];
      await forEachName(names, context, async (name) => {
        const known = volumes.find(name);
        if (known === undefined) throw new SandboxError('no-such-volume', `no such volume: ${name}`);
        found.push({ ...describeVolume(known), ...(await describeUse(known, volumes)) });
      });
      process.stdout.write(formatObjects(found, format));
    });
}

/** What a volume with bounds has of them. Measuring the others would take long. */
async function describeUse(volume: Volume, volumes: VolumeStore): Promise<object> {
  if (volume.size === undefined && volume.inodes === undefined) return {};
  const { bytes, inodes } = await volumes.use(volume);
  return { Status: { size: bytes, inodes } };
}
