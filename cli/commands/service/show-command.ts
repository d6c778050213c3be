// tsvm job show, tsvm sandbox show: shows all that a service tells of one thing.
import type { Command } from 'commander';
import { printableJson } from '../../../printable/index.js';
import { type Context, createCommand } from '../command.js';
import { ADDRESS, idPath, SERVER, ServiceClient } from './client.js';

interface Showing {
  /** `job`: the word of the group. */
  group: string;
  kind: 'jobs' | 'sandboxes';
  argument: string;
}

export function showCommand(context: Context, { group, kind, argument }: Showing): Command {
  return createCommand(`tsvm ${group} show`, context)
    .description(`Shows all of a ${group}, as JSON.`)
    .usage(`[options] ${argument.slice(1, -1)}`)
    .argument(argument, 'its ID')
    .addOption(SERVER())
    .addHelpText('after', ADDRESS)
    .action(async (id: string, options: { server: string }) => {
      const shown = await new ServiceClient(options).call(`/v1/${kind}${idPath(id)}`);
      process.stdout.write(`${printableJson(shown, 4)}\n`);
    });
}
