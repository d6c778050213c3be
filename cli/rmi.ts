// tsvm rmi: takes names, and with the last name the image, out of the store.
import type { Command } from 'commander';
import { openStore } from '../images/index.js';
import { tsvmHome } from '../sandbox/index.js';
import { type Context, createCommand, openLog } from './command.js';
import { describe, exitCode } from './failure.js';

export function command(context: Context): Command {
  return createCommand('tsvm rmi', context)
    .description('Removes images, or one of several names of an image.')
    .usage('[options] IMAGE...')
    .argument('<IMAGE...>', 'names or IDs')
    .action(async (references: string[]) => {
      const log = await openLog(context);
      const store = openStore(tsvmHome());
      for (const reference of references) {
        try {
          const { untagged, deleted } = await store.remove(reference);
          for (const name of untagged) process.stdout.write(`Untagged: ${name}\n`);
          for (const digest of deleted) process.stdout.write(`Deleted: ${digest}\n`);
        } catch (error) {
          // The others can go all the same.
          log.error(describe(error).message);
          context.exitCode = exitCode(error);
        }
      }
    });
}
