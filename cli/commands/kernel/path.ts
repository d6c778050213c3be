// tsvm kernel path: prints the path of a built kernel.
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { findKernel, parseKernelName } from './find.js';

export function command(context: Context): Command {
  return createCommand('tsvm kernel path', context)
    .description("Prints the path of a built kernel's vmlinux.")
    .usage('[KERNEL]')
    .argument('[KERNEL]', 'guest or lab', 'guest')
    .action((name: string) => {
      process.stdout.write(`${findKernel(parseKernelName(name))}\n`);
    });
}
