// tsvm kernel build: builds a kernel.
import type { Command } from 'commander';
import { type BuildProgress, buildKernel, KERNEL_NAMES } from '../../../kernels/index.js';
import { openProgressLine } from '../../output/progress.js';
import { type Context, createCommand } from '../command.js';
import { findKernel, parseKernelName } from './find.js';

export function command(context: Context): Command {
  return createCommand('tsvm kernel build', context)
    .description('Builds a kernel if it is not built yet. It takes some minutes.')
    .usage('[options] [KERNEL]')
    .argument('[KERNEL]', KERNEL_NAMES.join(', '), 'guest')
    .option('--source <DIR>', "use this kernel source tree instead of Debian's linux-source package")
    .action(async (name: string, { source }: { source?: string }) => {
      using line = openProgressLine(context.options.quiet, { long: true });
      const onProgress = ({ phase, done, total }: BuildProgress) => {
        line.draw(phase === 'compile' ? `compile ${Math.min(99, Math.floor((100 * done) / total))}%` : phase);
      };
      await buildKernel(parseKernelName(name), { ...(source && { source }), onProgress });
      process.stdout.write(`${findKernel(parseKernelName(name))}\n`);
    });
}
