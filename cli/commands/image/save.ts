// tsvm save: saves images to one archive.
import { createWriteStream, renameSync, rmSync, statSync } from 'node:fs';
import type { Writable } from 'node:stream';
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';
import { type Context, createCommand } from '../command.js';

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

/**
 * A regular file is renamed into place once it is complete. A pipe or device is written directly.
 */
async function saveTo(path: string, save: (output: Writable) => Promise<void>): Promise<void> {
  if (path === '') throw new UsageError("invalid argument '' for --output: expected the path of a file");
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw new UsageError(`${path} is a directory`);
  if (found !== undefined && !found.isFile()) return save(createWriteStream(path));
  const partial = `${path}.${process.pid}.partial`;
  try {
    await save(createWriteStream(partial, { mode: 0o600 }));
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
}
