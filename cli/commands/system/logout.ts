// tsvm logout: removes the credentials of a registry.
import type { Command } from 'commander';
import { logout, registryHost } from '../../../images/index.js';
import { type Context, createCommand } from '../command.js';

export function command(context: Context): Command {
  return createCommand('tsvm logout', context)
    .description('Logs out from a registry.')
    .usage('[options] [SERVER]')
    .argument('[SERVER]', 'registry, HOST[:PORT] (default: docker.io)')
    .action(async (server: string | undefined) => {
      const host = registryHost(server);
      const known = await logout(host);
      process.stdout.write(known ? `Removing login credentials for ${host}\n` : `Not logged in to ${host}\n`);
    });
}
