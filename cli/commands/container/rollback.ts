// tsvm rollback: takes a container back to a snapshot of it.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { startWarnings } from '../../output/warnings.js';
import { type Context, createCommand, openLog } from '../command.js';

const NOTES = `
All that runs in it ends, and what it has written to its disk since is lost. It keeps its name.

Examples:
  tsvm snapshot create web ready
  tsvm rollback web ready`;

export function command(context: Context): Command {
  return createCommand('tsvm rollback', context)
    .description('Takes a container back to a snapshot of it, with the memory, processes and disk of then.')
    .usage('CONTAINER SNAPSHOT')
    .argument('<CONTAINER>', 'name or ID')
    .argument('<SNAPSHOT>', 'the name of one of this container')
    .addHelpText('after', NOTES)
    .action(async (reference: string, snapshot: string) => {
      await Container.find(new Home(), reference).rollback(snapshot, startWarnings(await openLog(context)));
      process.stdout.write(`${reference}\n`);
    });
}
