// tsvm attach: connects the caller's streams to a running container.
import type { Command } from 'commander';
import { Container, Home, SandboxError } from '../../../sandbox/internal.js';
import { attachCaller } from '../../foreground/foreground.js';
import { addOptions, readOptions } from '../../options/declaration.js';
import { DEFAULT_DETACH_KEYS, DETACH_KEYS_OPTION } from '../../options/detach-keys.js';
import { endWithReader } from '../../output/reader.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm run -dit --name shell debian:12 bash
  tsvm attach shell        # ctrl-p ctrl-q leaves it, and it goes on`;

export function command(context: Context): Command {
  const command = createCommand('tsvm attach', context);
  return addOptions(command, [DETACH_KEYS_OPTION])
    .description('Attaches to a running container: to its output from now on, and its stdin. Exits with its code.')
    .usage('[options] CONTAINER')
    .argument('<CONTAINER>', 'name or ID')
    .option('--no-stdin', 'do not attach stdin')
    .option('--no-sig-proxy', 'do not forward signals to the container')
    .addHelpText('after', EXAMPLES)
    .action(async (reference: string, { stdin, sigProxy }: { stdin: boolean; sigProxy: boolean }) => {
      const { detachKeys = DEFAULT_DETACH_KEYS } = readOptions([DETACH_KEYS_OPTION], command);
      const container = Container.find(new Home(), reference);
      const { status } = container.state;
      if (status !== 'running')
        throw new SandboxError('not-running', `container ${reference} is ${status}, not running`);
      const input = stdin && container.config.spec.stdin === true;
      if (!input) endWithReader();
      context.exitCode = await attachCaller(container, { stdin: input, signals: sigProxy, keys: detachKeys });
    });
}
