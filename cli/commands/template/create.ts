// tsvm template create: makes the template that runs with these options come from.
import { type Command, Option } from 'commander';
import { DEFAULT_MEMORY, Home, SandboxError } from '../../../sandbox/internal.js';
import { makeTemplate, sizedShape, TemplateStore, templateBudget } from '../../../sandbox/machines.js';
import { addOptions, type Declaration, readOptions, text } from '../../options/declaration.js';
import { parseCpus } from '../../options/number.js';
import { parseSize } from '../../options/size.js';
import { type Context, createCommand, openLog } from '../command.js';

interface Shape {
  cpus?: number;
  memory?: number;
  kernel?: string;
  cgroupParent?: string;
}

const OPTIONS: readonly Declaration<Shape>[] = [
  { flags: '--cpus <N>', help: 'number of CPUs (default: 1)', field: 'cpus', parse: parseCpus },
  { flags: '-m, --memory <SIZE>', help: 'memory limit (default: 512m)', field: 'memory', parse: parseSize },
  { flags: '--kernel <KERNEL>', help: 'boot this kernel (default: guest)', field: 'kernel', parse: text },
  {
    flags: '--cgroup-parent <DIR>',
    help: 'make the cgroup of the machine in this folder of cgroup v2',
    field: 'cgroupParent',
    parse: text,
    env: 'TSVM_CGROUP_PARENT',
  },
];

interface Parts {
  network: boolean;
  shares?: boolean;
  layer: boolean;
}

export function command(context: Context): Command {
  const command = createCommand('tsvm template create', context)
    .description('Boots a machine without a container and saves it. Runs with these options come from it.')
    .usage('[options]');
  return addOptions(command, OPTIONS)
    .addOption(new Option('--shares', 'for runs with -v or --mount'))
    .addOption(new Option('--no-network', 'for runs with --network none'))
    .addOption(new Option('--no-layer', 'for runs with --read-only or --disk memory'))
    .action(async ({ network, layer, shares = false }: Parts) => {
      const log = await openLog(context);
      const { cpus = 1, memory = DEFAULT_MEMORY, ...options } = readOptions(OPTIONS, command);
      const home = new Home();
      const budget = templateBudget();
      if (budget === 0) throw new SandboxError('conflict', 'TSVM_TEMPLATES_SIZE is 0: no template is kept');
      const parts = { hasLayer: layer, hasNetwork: network, hasShares: shares };
      const name = await makeTemplate(home, sizedShape({ cpus, memory, ...parts }), { ...options, log });
      if (name === undefined) throw new SandboxError('conflict', 'another process makes a template of this home');
      new TemplateStore(home.templates).prune(budget);
      process.stdout.write(`${name}\n`);
    });
}
