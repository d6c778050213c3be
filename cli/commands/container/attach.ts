// tsvm attach: the caller's streams become those of a container in the background.
import type { Command } from 'commander';
import { Container, Home, SandboxError } from '../../../sandbox/internal.js';
import type { DetachKeys } from '../../foreground/detach-keys.js';
import { attachCaller } from '../../foreground/foreground.js';
import { DETACH_KEYS } from '../../options/detach-keys.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm run -dit --name shell debian:12 bash
  tsvm attach shell        # ctrl-p ctrl-q leaves it, and it goes on`;

interface Options {
  stdin: boolean;
  sigProxy: boolean;
  detachKeys: DetachKeys;
}

export function command(context: Context): Command {
  return createCommand('tsvm attach', context)
    .description('Attaches to a container: its output from now on, and what it reads. Exits as the container does.')
    .usage('[options] CONTAINER')
    .argument('<CONTAINER>', 'name or ID')
    .option('--no-stdin', 'only the output')
    .option('--no-sig-proxy', 'signals are for us, not for the container')
    .option('--detach-keys <KEYS>', 'what leaves it (default: ctrl-p,ctrl-q)', ...DETACH_KEYS)
    .addHelpText('after', EXAMPLES)
    .action(async (reference: string, { stdin, sigProxy, detachKeys }: Options) => {
      const container = Container.find(new Home(), reference);
      const { status } = container.state;
      if (status !== 'running')
        throw new SandboxError('not-running', `container ${reference} is ${status}, not running`);
      const input = stdin && container.config.spec.stdin === true;
      context.exitCode = await attachCaller(container, { stdin: input, signals: sigProxy, keys: detachKeys });
    });
}
