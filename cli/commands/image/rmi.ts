// tsvm rmi: removes names of images, and with its last name the image.
import type { Command } from 'commander';
import { ImageError } from '../../../images/index.js';
import { Home } from '../../../sandbox/internal.js';
import { describeError, exitCode } from '../../output/errors.js';
import { type Context, createCommand, openLog } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm rmi', context)
    .description('Removes images. If an image has several names, removes one name.')
    .usage('[options] IMAGE...')
    .argument('<IMAGE...>', 'names or IDs')
    .option('-f, --force', 'remove all names of an image; ignore images that do not exist')
    .action(async (references: string[], { force = false }: { force?: boolean }) => {
      const log = await openLog(context);
      const home = new Home();
      await home.releaseLost();
      const store = home.images;
      for (const reference of references) {
        try {
          const { untagged, deleted } = await store.remove(reference, { force });
          for (const name of untagged) process.stdout.write(`Untagged: ${name}\n`);
          for (const digest of deleted) process.stdout.write(`Deleted: ${digest}\n`);
        } catch (error) {
          // The other images are still removed.
          log.error(describeError(error).message);
          const forgiven = force && error instanceof ImageError && error.code === 'unknown-image';
          if (!forgiven) context.exitCode = exitCode(error);
        }
      }
    });
}
