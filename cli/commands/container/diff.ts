// tsvm diff: shows the changes to a container's files.
import type { Command } from 'commander';
import { printableName } from '../../../printable/index.js';
import { Container, Home } from '../../../sandbox/internal.js';
import { formatList } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm diff', context)
    .description('Shows which files a container added (A), changed (C) and deleted (D).')
    .usage('[options] CONTAINER')
    .argument('<CONTAINER>', 'name or ID')
    .option('--format <FORMAT>', 'json, or a template such as {{.Path}}')
    .addHelpText('after', '\nExamples:\n  tsvm diff web | grep ^A')
    .action(async (reference: string, { format }: { format?: string }) => {
      const changes = await Container.find(new Home(), reference).files.changes();
      const rows = changes.map(({ kind, path }) => ({ Kind: kind, Path: path }));
      const lines = rows.map(({ Kind, Path }) => `${Kind} ${printableName(Path)}\n`);
      process.stdout.write(format === undefined ? lines.join('') : formatList(rows, [['PATH', 'Path']], format));
    });
}
