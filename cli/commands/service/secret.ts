// tsvm tenant secret: secrets of a tenant, which its jobs and sandboxes get. Works whether the service
// runs or not. No value is an argument: other users of the host see those.
import { Argument, type Command } from 'commander';
import { messageOf } from '../../../errors/index.js';
import { readUserFile } from '../../../user-files/index.js';
import { UsageError } from '../../output/errors.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { type Context, createCommand } from '../command.js';
import { DATA, openTenants } from './load.js';

const ACTIONS = ['set', 'ls', 'rm'] as const;
type Action = (typeof ACTIONS)[number];

interface Row {
  Name: string;
  Created: string;
  Updated: string;
}

const COLUMNS: Columns<Row> = [
  ['NAME', 'Name'],
  ['CREATED', 'Created'],
  ['UPDATED', 'Updated'],
];

interface Options {
  data: string;
  file?: string;
  format?: string;
}

export function command(context: Context): Command {
  return createCommand('tsvm tenant secret', context)
    .description("Sets, lists and removes secrets that a tenant's jobs and sandboxes get. Values are never told again.")
    .usage('[options] --data FOLDER set|ls|rm TENANT [NAME]')
    .addHelpText('after', '\nExample:\n  printf %s "$TOKEN" | tsvm tenant secret --data /srv/tsvm set acme TOKEN')
    .addArgument(new Argument('<ACTION>', 'what to do').choices(ACTIONS))
    .argument('<TENANT>', 'of a tenant')
    .argument('[NAME]', '1 to 64 letters, digits, _ . -, a letter or _ first')
    .requiredOption(...DATA)
    .option('--file <FILE>', 'with set: what has the value, to the last byte (default: stdin)')
    .option('--format <FORMAT>', `with ls: ${FORMAT_HELP}`)
    .action(async (action: Action, tenant: string, name: string | undefined, options: Options) => {
      checkWords(action, name, options);
      const value = action === 'set' ? readValue(options.file ?? '-') : '';
      using tenants = await openTenants(options);
      if (name === undefined) {
        const rows = tenants
          .secrets(tenant)
          .map((secret): Row => ({ Name: secret.name, Created: secret.created, Updated: secret.updated }));
        if (context.options.quiet) process.stdout.write(rows.map(({ Name }) => `${Name}\n`).join(''));
        else process.stdout.write(formatList(rows, COLUMNS, options.format));
        return;
      }
      if (action === 'set') tenants.setSecret(tenant, name, value);
      else tenants.removeSecret(tenant, name);
      process.stdout.write(`${name}\n`);
    });
}

/** @throws UsageError */
function checkWords(action: Action, name: string | undefined, { file, format }: Options): void {
  if ((name === undefined) !== (action === 'ls')) {
    throw new UsageError(action === 'ls' ? 'ls has no NAME' : `${action} needs the NAME of a secret`);
  }
  if (file !== undefined && action !== 'set') throw new UsageError('--file is for set');
  if (format !== undefined && action !== 'ls') throw new UsageError('--format is for ls');
}

/** @throws UsageError, which never quotes it */
function readValue(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readUserFile(path, { stdin: true });
  } catch (error) {
    throw new UsageError(`cannot read the value: ${messageOf(error)}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UsageError('the value is no UTF-8: encode it, for example by base64');
  }
}
