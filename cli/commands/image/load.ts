// tsvm load: loads images from an archive.
import type { Command } from 'commander';
import type { Progress } from '../../../images/index.js';
import { Home } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';
import { describeProgress, openProgressLine } from '../../output/progress.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm load', context)
    .description('Loads the images of an OCI or Docker archive, which may be compressed.')
    .option('-i, --input <FILE>', 'read an archive, or the directory of an OCI layout (default: stdin)')
    .action(async ({ input }: { input?: string }) => {
      if (input === undefined && process.stdin.isTTY) {
        throw new UsageError('requested load from stdin, but stdin is a terminal. Use the -i flag or redirect');
      }
      using line = openProgressLine(context.options.quiet);
      const onProgress = (progress: Progress) => line.draw(describeProgress(progress));
      const loaded = await new Home().images.load(input ?? process.stdin, { onProgress });
      line[Symbol.dispose]();
      for (const { names, digest } of loaded) {
        for (const name of names) process.stdout.write(`Loaded image: ${name}\n`);
        if (names.length === 0) process.stdout.write(`Loaded image ID: ${digest}\n`);
      }
    });
}
