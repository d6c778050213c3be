// tsvm network rm: removes networks.
import type { Command } from 'commander';
import { hasCode } from '../../../errors/index.js';
import { Home } from '../../../sandbox/internal.js';
import { type Context, createCommand } from '../command.js';
import { forEachName } from '../operands.js';

export function command(context: Context): Command {
  return createCommand('tsvm network rm', context)
    .description('Removes networks. A network with a running container is not removed.')
    .usage('[options] NETWORK...')
    .argument('<NETWORK...>', 'names or IDs')
    .option('-f, --force', 'ignore names that do not exist')
    .action((names: string[], { force = false }: { force?: boolean }) =>
      forEachName(names, context, async (name) => {
        try {
          await new Home().networks.remove(name);
        } catch (error) {
          if (force && hasCode(error, 'no-such-network')) return;
          throw error;
        }
        process.stdout.write(`${name}\n`);
      }),
    );
}
