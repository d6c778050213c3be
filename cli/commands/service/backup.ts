// tsvm backup: copies the data folder of a service, whether the service runs or not.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type Context, createCommand } from '../command.js';
import { DATA, dataFolder, loadService } from './load.js';

export function command(context: Context): Command {
  return createCommand('tsvm backup', context)
    .description('Copies the state of a service to a tar archive: tenants, keys, jobs and their files, without images.')
    .usage('[options] --data FOLDER FILE')
    .argument('<FILE>', 'the archive, which is replaced')
    .requiredOption(...DATA)
    .addHelpText('after', '\nExample:\n  tsvm backup --data /srv/tsvm /backup/tsvm.tar')
    .action(async (file: string, options: { data: string }) => {
      const { writeBackup } = await loadService();
      await writeBackup(dataFolder(options), resolve(file));
      process.stdout.write(`${file}\n`);
    });
}
