// tsvm sandbox fork, tsvm sandbox snapshot: copies of a service's sandboxes, which other sandboxes continue.
import { Argument, type Command } from 'commander';
import { parseDuration } from '../../options/duration.js';
import { parseCount } from '../../options/number.js';
import { UsageError } from '../../output/errors.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { type Context, createCommand, defined } from '../command.js';
import { ADDRESS, ClientError, idPath, SERVER, ServiceClient } from './client.js';
import { given } from './machine-options.js';

/** What this reads of a copy that was to start. */
interface Copy {
  id: string;
  status: string;
  error?: string;
}

interface ForkOptions {
  server: string;
  number: string;
  lifetime?: string;
}

export function fork(context: Context): Command {
  return createCommand('tsvm sandbox fork', context)
    .description('Starts copies of a sandbox as it is now, with its memory, processes and files. It runs on.')
    .usage('[options] SANDBOX')
    .argument('<SANDBOX>', 'its ID')
    .addOption(SERVER())
    .option('-n, --number <N>', 'how many', '1')
    .option('--lifetime <DURATION>', "after which they end (default: the sandbox's)")
    .addHelpText('after', `\nPrints their IDs.\n${ADDRESS}`)
    .action(async (id: string, { number, lifetime, ...options }: ForkOptions) => {
      const body = defined({
        count: parseCount(number, '--number'),
        lifetime: given(lifetime, parseDuration, '--lifetime'),
      });
      const path = `/v1/sandboxes${idPath(id)}/fork`;
      const answer = await new ServiceClient(options).call(path, { method: 'POST', body });
      const { sandboxes } = answer as { sandboxes: Copy[] };
      // One that has started may be paused already.
      const failed = sandboxes.filter(({ status }) => status === 'ended');
      for (const copy of sandboxes) if (!failed.includes(copy)) process.stdout.write(`${copy.id}\n`);
      const [first] = failed;
      if (first === undefined) return;
      const why = first.error ?? 'it has ended';
      throw new ClientError(`${failed.length} of ${sandboxes.length} sandboxes did not start: ${why}`);
    });
}

interface Snapshot {
  id: string;
  sandbox: string;
  created: string;
  spec: { image: string };
}

interface Row {
  ID: string;
  Sandbox: string;
  Image: string;
  Created: string;
}

const COLUMNS: Columns<Row> = [
  ['SNAPSHOT ID', 'ID'],
  ['SANDBOX ID', 'Sandbox'],
  ['IMAGE', 'Image'],
  ['CREATED', 'Created'],
];
/** How many are listed. */
const MAX_LISTED = 1000;
const ACTIONS = ['create', 'ls', 'rm'] as const;

interface SnapshotOptions {
  server: string;
  format?: string;
}

export function snapshot(context: Context): Command {
  return createCommand('tsvm sandbox snapshot', context)
    .description('Keeps sandboxes as they are now, for tsvm sandbox create --snapshot. They run on.')
    .usage('[options] create SANDBOX | ls | rm SNAPSHOT...')
    .addArgument(new Argument('<ACTION>', 'what to do').choices(ACTIONS))
    .argument('[ID...]', 'of a sandbox, or of snapshots')
    .addOption(SERVER())
    .option('--format <FORMAT>', `with ls: ${FORMAT_HELP}`)
    .addHelpText('after', `\nPrints the IDs of snapshots.\n${ADDRESS}`)
    .action(async (action: (typeof ACTIONS)[number], ids: string[], { format, ...options }: SnapshotOptions) => {
      if (format !== undefined && action !== 'ls') throw new UsageError('--format is for ls');
      const client = new ServiceClient(options);
      if (action === 'ls') await list(context, client, ids, format);
      else if (action === 'create') await create(client, ids);
      else await remove(client, ids);
    });
}

async function create(client: ServiceClient, [id, ...more]: string[]): Promise<void> {
  if (id === undefined || more.length > 0) throw new UsageError('create needs the ID of one sandbox');
  const made = (await client.call(`/v1/sandboxes${idPath(id)}/snapshots`, { method: 'POST' })) as Snapshot;
  process.stdout.write(`${made.id}\n`);
}

async function list(context: Context, client: ServiceClient, ids: string[], format?: string): Promise<void> {
  if (ids.length > 0) throw new UsageError('ls has no ID');
  const found = await client.list<Snapshot>('snapshots', MAX_LISTED);
  const rows = found.map(
    ({ id, sandbox, spec, created }): Row => ({ ID: id, Sandbox: sandbox, Image: spec.image, Created: created }),
  );
  if (context.options.quiet) process.stdout.write(rows.map(({ ID }) => `${ID}\n`).join(''));
  else process.stdout.write(formatList(rows, COLUMNS, format));
}

async function remove(client: ServiceClient, ids: string[]): Promise<void> {
  if (ids.length === 0) throw new UsageError('rm needs the IDs of snapshots');
  for (const id of ids) {
    (await client.open(`/v1/snapshots${idPath(id)}`, { method: 'DELETE' })).resume();
    process.stdout.write(`${id}\n`);
  }
}
