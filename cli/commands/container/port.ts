// tsvm port: lists the published ports of a container.
import type { Command } from 'commander';
import { Container, formatPort, Home, parseExposed, SandboxError } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';
import { formatHostPort } from '../../output/ports.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm run -d -p 80 --name web IMAGE
  tsvm port web             # 80/tcp -> 0.0.0.0:32768
  tsvm port web 80          # 0.0.0.0:32768`;

export function command(context: Context): Command {
  return createCommand('tsvm port', context)
    .description('Lists the published ports of a container: all, or those of one port.')
    .usage('CONTAINER [PORT[/PROTO]]')
    .argument('<CONTAINER>', 'name or ID')
    .argument('[PORT]', 'port of the container (default protocol: tcp)')
    .addHelpText('after', EXAMPLES)
    .action((reference: string, wanted?: string) => {
      process.stdout.write(listPorts(Container.find(new Home(), reference), reference, wanted));
    });
}

function listPorts({ ports: bound }: Container, reference: string, wanted?: string): string {
  if (wanted === undefined) {
    return bound.map((port) => `${formatPort(port)} -> ${formatHostPort(port)}\n`).join('');
  }
  const [port, ...more] = parseExposed(wanted);
  if (port === undefined || more.length > 0) throw new UsageError(`invalid port '${wanted}': give one port`);
  const found = bound.filter((each) => formatPort(each) === formatPort(port));
  if (found.length === 0) {
    throw new SandboxError('bad-spec', `no public port '${formatPort(port)}' published for ${reference}`);
  }
  return found.map((each) => `${formatHostPort(each)}\n`).join('');
}
