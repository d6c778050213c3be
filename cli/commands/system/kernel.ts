// tsvm kernel: the guest's kernel, where it is and how it gets there.
import { type Command, Option } from 'commander';
import {
  type BuildProgress,
  buildKernel,
  KERNEL_NAMES,
  type KernelName,
  kernelPath,
  listKernels,
} from '../../../kernels/index.js';
import { UsageError } from '../../output/errors.js';
import { openProgressLine } from '../../output/progress.js';
import { formatTable } from '../../output/table.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  const kernel = createCommand('tsvm kernel', context)
    .description("Builds and finds kernels: the guest's, and the lab's for tests.")
    .usage('path|ls|build [NAME]');
  const add = (name: string) => kernel.addCommand(createCommand(name, context));
  add('path');
  add('ls');
  add('build');
  const [path, ls, build] = kernel.commands;
  path
    .description("Prints the path of a built kernel's vmlinux.")
    .argument('[NAME]', 'guest or lab', 'guest')
    .action((name: string) => {
      process.stdout.write(`${findKernel(parseName(name))}\n`);
    });
  ls.description('Lists built kernels.')
    .addOption(new Option('--format <FORMAT>', 'how').choices(['table', 'json']).default('table'))
    .action(({ format }: { format: string }) => {
      const kernels = listKernels();
      if (format === 'json') process.stdout.write(kernels.map((it) => `${JSON.stringify(it)}\n`).join(''));
      else process.stdout.write(kernelTable(kernels));
    });
  build
    .description('Builds a kernel unless it is there; some minutes.')
    .argument('[NAME]', 'guest or lab', 'guest')
    .option('--source <DIR>', "a kernel source tree, instead of Debian's linux-source package")
    .action(async (name: string, { source }: { source?: string }) => {
      using line = openProgressLine(context.options.quiet, { long: true });
      const onProgress = ({ phase, done, total }: BuildProgress) => {
        line.draw(phase === 'compile' ? `compile ${Math.min(99, Math.floor((100 * done) / total))}%` : phase);
      };
      await buildKernel(parseName(name), { source, onProgress });
      process.stdout.write(`${findKernel(parseName(name))}\n`);
    });
  return kernel;
}

function parseName(text: string): KernelName {
  const name = KERNEL_NAMES.find((known) => known === text);
  if (name === undefined) throw new UsageError(`no kernel is called '${text}': ${KERNEL_NAMES.join(' or ')}`);
  return name;
}

function findKernel(name: KernelName): string {
  const path = kernelPath(name);
  if (path === undefined) throw new UsageError(`the kernel '${name}' is not built, run: tsvm kernel build ${name}`);
  return path;
}

function kernelTable(kernels: ReturnType<typeof listKernels>): string {
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
