// tsvm kernel pull: fetches a distribution's kernel.
import type { Command } from 'commander';
import { isPulledName, PULLED_NAMES, type PullPhase, pullKernel } from '../../../kernels/index.js';
import { UsageError } from '../../output/errors.js';
import { openProgressLine } from '../../output/progress.js';
import { type Context, createCommand } from '../command.js';

const PHASES: Record<PullPhase, string> = { lists: 'package lists', download: 'download', unpack: 'unpack' };

export function command(context: Context): Command {
  return createCommand('tsvm kernel pull', context)
    .description('Fetches the newest version of a kernel of Debian as a package. Nothing is installed.')
    .usage('[options] [KERNEL]')
    .argument('[KERNEL]', PULLED_NAMES.join(' or '), 'debian')
    .action(async (name: string) => {
      if (!isPulledName(name)) {
        throw new UsageError(`unknown kernel '${name}': expected ${PULLED_NAMES.join(' or ')}`);
      }
      using line = openProgressLine(context.options.quiet, { long: true });
      const directory = await pullKernel(name, { onProgress: (phase) => line.draw(`${name}: ${PHASES[phase]}`) });
      process.stdout.write(`${directory}\n`);
    });
}
