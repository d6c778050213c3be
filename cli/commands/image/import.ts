// tsvm import: creates an image of one layer from the tar of a root file system.
import type { Command } from 'commander';
import type { Progress } from '../../../images/index.js';
import { Home } from '../../../sandbox/internal.js';
import { describeProgress, openProgressLine } from '../../output/progress.js';
import { type Context, collect, createCommand, defined } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm import', context)
    .description('Creates an image from a root file system: a tar, plain or compressed with gzip, zstd or xz.')
    .usage('[options] FILE|- NAME[:TAG]')
    .argument('<FILE>', 'the tar, or - for stdin')
    .argument('<NAME>', 'name of the image')
    .option('-c, --change <INSTRUCTION>', 'apply a Dockerfile instruction: CMD, ENV, USER, ...', collect)
    .action(async (file: string, name: string, { change }: { change?: string[] }) => {
      using line = openProgressLine(context.options.quiet);
      const store = new Home().images;
      const onProgress = (progress: Progress) => line.draw(describeProgress(progress));
      const { digest } = await store.import(file, name, defined({ changes: change, onProgress }));
      process.stdout.write(`${digest}\n`);
    });
}
