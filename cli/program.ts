// The commands: which one is meant, and what is said of its failure. A command's file is loaded when it is the one that
// runs.
import type { Command } from 'commander';
import { type Context, createCommand, openLog, parse } from './command.js';
import { describe, exitCode, UsageError } from './failure.js';

interface CommandModule {
  command(context: Context): Command;
}

const COMMANDS: Record<string, { summary: string; load: () => Promise<CommandModule> }> = {
  run: { summary: 'run a command in a new container', load: () => import('./run.js') },
  create: { summary: 'make a container', load: () => import('./create.js') },
  start: { summary: 'start containers', load: () => import('./start.js') },
  stop: { summary: 'stop containers', load: () => import('./stop.js') },
  restart: { summary: 'stop containers and start them', load: () => import('./restart.js') },
  kill: { summary: 'send a signal to containers', load: () => import('./kill.js') },
  wait: { summary: 'wait until containers end', load: () => import('./wait.js') },
  rm: { summary: 'remove containers', load: () => import('./rm.js') },
  rename: { summary: 'give a container another name', load: () => import('./rename.js') },
  exec: { summary: 'run a command in a running container', load: () => import('./exec.js') },
  attach: { summary: 'attach to a running container', load: () => import('./attach.js') },
  pause: { summary: 'stop the processors of containers', load: () => import('./pause.js') },
  unpause: {
    summary: 'let paused containers go on',
    load: async () => ({ command: (await import('./pause.js')).unpause }),
  },
  cp: { summary: 'copy files between host and container', load: () => import('./cp.js') },
  diff: { summary: 'show what a container wrote', load: () => import('./diff.js') },
  commit: { summary: 'make an image of a container', load: () => import('./commit.js') },
  top: { summary: 'show the processes of a container', load: () => import('./top.js') },
  stats: { summary: 'show what containers use', load: () => import('./stats.js') },
  events: { summary: 'show what happens to containers', load: () => import('./events.js') },
  ps: { summary: 'list containers', load: () => import('./ps.js') },
  logs: { summary: 'show the output of a container', load: () => import('./logs.js') },
  images: { summary: 'list images', load: () => import('./images.js') },
  import: { summary: 'make an image of a root file system', load: () => import('./import.js') },
  pull: { summary: 'bring an image from its registry', load: () => import('./pull.js') },
  load: { summary: 'bring the images of an archive into the store', load: () => import('./load.js') },
  save: { summary: 'write images as an archive', load: () => import('./save.js') },
  tag: { summary: 'give an image one more name', load: () => import('./tag.js') },
  history: { summary: 'show how an image was made', load: () => import('./history.js') },
  inspect: { summary: 'say all there is to say of containers and images', load: () => import('./inspect.js') },
  rmi: { summary: 'remove images', load: () => import('./rmi.js') },
  prune: { summary: 'remove images that nothing needs', load: () => import('./prune.js') },
  df: { summary: "show what the store takes of the host's disk", load: () => import('./df.js') },
  volume: { summary: 'make, list and remove volumes', load: () => import('./volume.js') },
  login: { summary: 'log in to a registry', load: () => import('./login.js') },
  logout: { summary: 'log out from a registry', load: () => import('./logout.js') },
  kernel: { summary: "build and find the guest's kernel", load: () => import('./kernel.js') },
  doctor: { summary: 'say what this machine has and lacks', load: () => import('./doctor.js') },
};

/** `tsvm image ls` is `tsvm images`, as with Docker. */
const IMAGE_COMMANDS: Record<string, string> = {
  ls: 'images',
  rm: 'rmi',
  ...Object.fromEntries(
    ['pull', 'import', 'load', 'save', 'tag', 'history', 'inspect', 'prune'].map((name) => [name, name]),
  ),
};

/** Runs a command line to its end; what became of it is in `context`. */
export async function runCommandLine(argv: readonly string[], context: Context): Promise<void> {
  try {
    await dispatch(argv, context);
  } catch (error) {
    context.exitCode = exitCode(error);
    await report(error, context);
  }
}

async function dispatch(argv: readonly string[], context: Context): Promise<void> {
  const program = createCommand('tsvm', context)
    .description('Runs container images, each in a virtual machine of its own.')
    .usage('[options] COMMAND')
    .version(`tsvm ${context.version}`, '-v, --version', 'show the version')
    .enablePositionalOptions()
    .argument('[command...]')
    .passThroughOptions()
    .addHelpText('after', `\n${commandList()}\n\nSee 'tsvm COMMAND --help' for a command's options.`)
    .action(async ([name, ...args]: string[]) => {
      if (name === undefined) return program.outputHelp();
      if (name === 'help') return help(args, context, program);
      const isImageCommand = name === 'image' && Object.hasOwn(IMAGE_COMMANDS, args[0]);
      const command = isImageCommand ? IMAGE_COMMANDS[args[0]] : name;
      if (!Object.hasOwn(COMMANDS, command)) throw new UsageError(`'${name}' is not a tsvm command`, 'tsvm');
      await parse((await COMMANDS[command].load()).command(context), isImageCommand ? args.slice(1) : args);
    });
  await parse(program, argv);
}

async function help([name]: string[], context: Context, program: Command): Promise<void> {
  if (name === undefined) return program.outputHelp();
  if (!Object.hasOwn(COMMANDS, name)) throw new UsageError(`'${name}' is not a tsvm command`, 'tsvm');
  (await COMMANDS[name].load()).command(context).outputHelp();
}

function commandList(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`);
  return ['Commands:', ...lines].join('\n');
}

async function report(error: unknown, context: Context): Promise<void> {
  const { message, detail } = describe(error);
  const log = await openLog(context);
  log.error(message);
  if (detail !== undefined) log.error(detail);
  if (error instanceof UsageError && error.command !== undefined && context.options.logFormat !== 'json') {
    process.stderr.write(`See '${error.command} --help'.\n`);
  }
}
