// tsvm kernel ls: lists the built kernels.
import { type Command, Option } from 'commander';
import { type BuiltKernel, listKernels, listPulled, type PulledKernel, packedKernels } from '../../../kernels/index.js';
import { printableJson } from '../../../printable/index.js';
import { formatTable } from '../../output/table.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm kernel ls', context)
    .description('Lists built and fetched kernels, and those that came with tsvm.')
    .usage('[options]')
    .addOption(new Option('--format <FORMAT>', 'output format').choices(['table', 'json']).default('table'))
    .action(({ format }: { format: string }) => {
      const kernels = [...listKernels(), ...packedKernels(), ...listPulled()];
      if (format === 'json') process.stdout.write(kernels.map((it) => `${printableJson(it)}\n`).join(''));
      else process.stdout.write(kernelTable(kernels));
    });
}

function kernelTable(kernels: readonly (BuiltKernel | PulledKernel)[]): string {
  return formatTable(
    ['NAME', 'VERSION', 'HASH', 'CURRENT', 'DIRECTORY'],
    kernels.map(({ name, version, hash, current, directory }) => [
      name,
      version,
      hash,
      current ? 'yes' : 'no',
      directory,
    ]),
  );
}
