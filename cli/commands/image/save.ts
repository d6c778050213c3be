// tsvm save: saves images to one archive.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';
import { type Context, createCommand } from '../command.js';
import { saveTo } from './save-to.js';

export function command(context: Context): Command {
  return createCommand('tsvm save', context)
    .description('Saves images to an archive that is an OCI layout and that `docker load` reads.')
    .usage('[options] IMAGE...')
    .argument('<IMAGE...>', 'names or IDs; the archive keeps names')
    .option('-o, --output <FILE>', 'write to a file (default: stdout)')
    .action(async (references: string[], { output }: { output?: string }) => {
      const store = new Home().images;
      if (output !== undefined) return saveTo(output, (file) => store.save(references, file));
      if (process.stdout.isTTY) {
        throw new UsageError('cowardly refusing to save to a terminal. Use the -o flag or redirect');
      }
      await store.save(references, process.stdout);
    });
}
