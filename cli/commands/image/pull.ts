// tsvm pull: downloads an image from a registry.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { openPullProgress } from '../../output/pull-progress.js';
import { type Context, createCommand, defined } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm pull', context)
    .description('Downloads an image from a registry. With --quiet, prints only its name.')
    .usage('[options] NAME[:TAG|@DIGEST]')
    .argument('<NAME>', 'name of the image; debian:12 is docker.io/library/debian:12')
    .option('--platform <OS/ARCH[/VARIANT]>', 'platform of the image (default: linux/amd64)')
    .action(async (name: string, { platform }: { platform?: string }) => {
      const { quiet } = context.options;
      using bars = openPullProgress(quiet);
      bars.pulling();
      const onProgress = bars.update.bind(bars);
      const pulled = await new Home().images.pull(name, defined({ platform, onProgress }));
      bars[Symbol.dispose]();
      if (!quiet) {
        const status = pulled.changed ? 'Downloaded newer image for' : 'Image is up to date for';
        process.stdout.write(`Digest: ${pulled.manifest}\nStatus: ${status} ${name}\n`);
      }
      process.stdout.write(`${pulled.name}\n`);
    });
}
