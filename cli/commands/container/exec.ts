// tsvm exec: a further command in a container that runs.
import type { Command } from 'commander';
import { Container, type ExecSpec } from '../../../sandbox/internal.js';
import { callerIo, inForeground } from '../../foreground/foreground.js';
import { type Context, collect, createCommand } from '../../options/command.js';
import { parseEnv, readEnvFile } from '../../options/environment.js';
import { UsageError } from '../../options/failure.js';

const EXAMPLES = `
Examples:
  tsvm exec -it web bash
  tsvm exec -u www-data -w /srv -e DEBUG=1 web ./check
  tar c src | tsvm exec -i web tar x -C /srv

The exit code is the command's own; 128+n when signal n ended it;
127 when it was not found, 126 when it could not be invoked, 125 when tsvm itself failed.`;

interface Options {
  interactive?: boolean;
  tty?: boolean;
  detach?: boolean;
  env?: string[];
  envFile?: string[];
  workdir?: string;
  user?: string;
  privileged?: boolean;
}

export function command(context: Context): Command {
  return createCommand('tsvm exec', context)
    .description('Runs a further command in a container that runs.')
    .usage('[options] CONTAINER COMMAND [ARG...]')
    .passThroughOptions()
    .argument('<CONTAINER>', 'name or ID')
    .argument('<COMMAND...>', 'with its arguments')
    .option('-i, --interactive', 'pass stdin to the command')
    .option('-t, --tty', 'give the command a terminal')
    .option('-d, --detach', 'let it run in the background')
    .option('-e, --env <NAME=VALUE>', 'set a variable; NAME alone takes it from the environment', collect)
    .option('--env-file <FILE>', 'set the variables that a file names', collect)
    .option('-w, --workdir <DIR>', "working directory (default: the container's)")
    .option('-u, --user <USER[:GROUP]>', "user and group (default: the container's)")
    .option('--privileged', 'with all capabilities')
    .addHelpText('after', EXAMPLES)
    .action(async (reference: string, words: string[], options: Options) => {
      context.exitCode = await run(reference, words, options);
    });
}

async function run(reference: string, command: string[], options: Options): Promise<number> {
  const { env = [], envFile = [], workdir, user, privileged, tty: terminal, interactive: stdin, detach } = options;
  if (terminal && stdin && !detach && !process.stdin.isTTY) throw new UsageError('the input device is not a TTY');
  if (workdir !== undefined && !workdir.startsWith('/')) {
    throw new UsageError(`the working directory '${workdir}' is invalid, it needs to be an absolute path`);
  }
  const container = Container.find(reference);
  const spec: ExecSpec = {
    ...{ command, workdir, user, privileged, terminal, stdin },
    env: [...envFile.flatMap(readEnvFile), ...env.map((text) => parseEnv(text, process.env))],
  };
  if (detach) {
    await container.execDetached({ ...spec, stdin: false });
    return 0;
  }
  const exec = await container.exec(spec, callerIo(stdin === true));
  const foreground = {
    started: Promise.resolve(),
    get outputChunks() {
      return exec.outputChunks;
    },
    signal: exec.signal,
    resize: exec.resize,
    abort: () => process.exit(125),
  };
  return inForeground(foreground, exec.exit, { terminal: terminal === true, stdin: stdin === true });
}
