// tsvm exec: runs a command in a running container.
import type { Command } from 'commander';
import { type ExecSpec, exec, execDetached, findContainer } from '../../../sandbox/running.js';
import { callerIo, inForeground } from '../../foreground/caller.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { PROCESS_OPTIONS } from '../../options/process-options.js';
import { UsageError } from '../../output/errors.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm exec -it web bash
  tsvm exec -u www-data -w /srv -e DEBUG=1 web ./check
  tar c src | tsvm exec -i web tar x -C /srv

The exit code is the command's own; 128+n when signal n ended it;
127 when it was not found, 126 when it could not be invoked, 125 when tsvm itself failed.`;

const OPTIONS: readonly Declaration<Omit<ExecSpec, 'command'>>[] = [
  ...PROCESS_OPTIONS,
  { flags: '--privileged', help: 'give all capabilities to the command', field: 'privileged' },
];

export function command(context: Context): Command {
  const command = createCommand('tsvm exec', context)
    .description('Runs a command in a running container.')
    .usage('[options] CONTAINER COMMAND [ARG...]')
    .passThroughOptions()
    .argument('<CONTAINER>', 'name or ID')
    .argument('<COMMAND...>', 'command and its arguments')
    .option('-d, --detach', 'run the command in the background')
    .addHelpText('after', EXAMPLES);
  return addOptions(command, OPTIONS).action(
    async (reference: string, words: string[], { detach = false }: { detach?: boolean }) => {
      const spec = { ...readOptions(OPTIONS, command), command: words };
      context.exitCode = await run(reference, spec, detach);
    },
  );
}

async function run(reference: string, spec: ExecSpec, detach: boolean): Promise<number> {
  const { terminal = false, stdin = false, cwd } = spec;
  if (terminal && stdin && !detach && !process.stdin.isTTY) throw new UsageError('the input device is not a TTY');
  if (cwd !== undefined && !cwd.startsWith('/')) {
    throw new UsageError(`the working directory '${cwd}' is invalid, it needs to be an absolute path`);
  }
  const { folder, config } = findContainer(reference);
  if (detach) {
    await execDetached(folder, config, { ...spec, stdin: false });
    return 0;
  }
  const io = callerIo(stdin, terminal);
  const started = await exec(folder, config, spec, io);
  const foreground = {
    started: Promise.resolve(),
    get outputChunks() {
      return started.outputChunks;
    },
    signal: started.signal,
    resize: started.resize,
    abort: () => process.exit(125),
  };
  return inForeground(foreground, started.exit, io, { terminal, stdin });
}
