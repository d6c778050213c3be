// tsvm kernel path: prints the path of a built kernel.
import type { Command } from 'commander';
import { KERNEL_NAMES, PULLED_NAMES } from '../../../kernels/index.js';
import { type Context, createCommand } from '../command.js';
import { findAnyKernel } from './find.js';

export function command(context: Context): Command {
  return createCommand('tsvm kernel path', context)
    .description('Prints the path of a kernel that was built or fetched.')
    .usage('[KERNEL]')
    .argument('[KERNEL]', [...KERNEL_NAMES, ...PULLED_NAMES].join(', '), 'guest')
    .action((name: string) => {
      process.stdout.write(`${findAnyKernel(name)}\n`);
    });
}
