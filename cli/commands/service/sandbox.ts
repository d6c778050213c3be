// tsvm sandbox: a client of a service's sandboxes.
import { randomUUID } from 'node:crypto';
import { posix, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { archiveFiles, copyArchive } from '../../../sandbox/internal.js';
import { inForeground } from '../../foreground/caller.js';
import { holdOutput, terminalSize } from '../../foreground/terminal.js';
import { parseDuration } from '../../options/duration.js';
import { parsePlace } from '../../options/place.js';
import { UsageError } from '../../output/errors.js';
import type { Columns } from '../../output/listing.js';
import { type Context, collect, createCommand, defined } from '../command.js';
import { ADDRESS, ClientError, idPath, RefusedError, SERVER, ServiceClient } from './client.js';
import { RemoteExec } from './exec-stream.js';
import { listCommand } from './list-command.js';
import { addMachineOptions, given, type MachineOptions, machineOf, variablesOf } from './machine-options.js';
import { showCommand } from './show-command.js';

const STATUSES = ['starting', 'running', 'pausing', 'paused', 'resuming', 'ended'];
/** The size of a terminal that nobody sees. */
const NO_SIZE = { columns: 80, rows: 24 };
/** The end of a tar archive: one without a file. */
const EMPTY_ARCHIVE = Buffer.alloc(1024);

/** What this reads of a sandbox. */
interface Sandbox {
  id: string;
  image: string;
  status: string;
  created: string;
  expires?: string;
  reason?: string;
}

interface CreateOptions extends MachineOptions {
  server: string;
  snapshot?: string;
  lifetime?: string;
  idempotencyKey?: string;
}

export function create(context: Context): Command {
  const command = createCommand('tsvm sandbox create', context)
    .description('Starts a sandbox at a service, and prints its ID once it takes commands.')
    .usage('[options] IMAGE\n       tsvm sandbox create [options] --snapshot ID')
    .argument('[IMAGE]', "an image of the tenant's")
    .addOption(SERVER());
  return addMachineOptions(command)
    .option('--snapshot <ID>', 'continue a snapshot of tsvm sandbox snapshot: --metadata and --lifetime may differ')
    .option('--lifetime <DURATION>', "after which it ends (default: 1h, or the snapshot's)")
    .option('--idempotency-key <KEY>', 'a second sandbox with this key is the first one')
    .addHelpText('after', `\nExamples:\n  box=$(tsvm sandbox create -m 1g --lifetime 8h debian:12)\n${ADDRESS}`)
    .action(async (image: string | undefined, { snapshot, ...options }: CreateOptions) => {
      if ((image === undefined) === (snapshot === undefined)) throw new UsageError('expected an IMAGE or --snapshot');
      const client = new ServiceClient(options);
      const headers = { 'Idempotency-Key': options.idempotencyKey ?? randomUUID() };
      const lifetime = given(options.lifetime, parseDuration, '--lifetime');
      // What a snapshot does not take, the service refuses by name.
      const body = defined({ image, ...machineOf(options), lifetime });
      const path = snapshot === undefined ? '/v1/sandboxes' : `/v1/snapshots${idPath(snapshot)}/sandboxes`;
      const { id } = (await client.call(path, { method: 'POST', headers, body })) as Sandbox;
      process.stdout.write(`${id}\n`);
    });
}

interface Row {
  ID: string;
  Image: string;
  Status: string;
  Created: string;
  Expires: string;
}

const COLUMNS: Columns<Row> = [
  ['SANDBOX ID', 'ID'],
  ['IMAGE', 'Image'],
  ['STATUS', 'Status'],
  ['CREATED', 'Created'],
  ['EXPIRES', 'Expires'],
];

export function ls(context: Context): Command {
  return listCommand(context, { group: 'sandbox', kind: 'sandboxes', statuses: STATUSES, columns: COLUMNS, rowOf });
}

function rowOf({ id, image, status, reason, created, expires = '' }: Sandbox): Row {
  return { ID: id, Image: image, Status: reason ?? status, Created: created, Expires: expires };
}

interface ExecOptions {
  server: string;
  interactive?: boolean;
  tty?: boolean;
  env?: string[];
  workdir?: string;
  user?: string;
  timeout?: string;
}

const EXEC_EXAMPLES = `
Examples:
  tsvm sandbox exec -it sb-8ab6f329913c4fb9 bash
  tar c src | tsvm sandbox exec -i sb-8ab6f329913c4fb9 tar x -C /srv

The exit code is the command's own; 128+n when signal n ended it; 125 when it is not known, or the service refused.
The command is killed when this one ends, or when its output is not read for a minute.
`;

export function exec(context: Context): Command {
  return createCommand('tsvm sandbox exec', context)
    .description('Runs a command in a sandbox of a service.')
    .usage('[options] SANDBOX COMMAND [ARG...]')
    .passThroughOptions()
    .argument('<SANDBOX>', 'its ID')
    .argument('<COMMAND...>', 'command and its arguments')
    .addOption(SERVER())
    .option('-i, --interactive', 'pass stdin to the command')
    .option('-t, --tty', 'allocate a terminal for the command')
    .option('-e, --env <NAME[=VALUE]>', 'set a variable', collect)
    .option('-w, --workdir <PATH>', 'its working directory')
    .option('-u, --user <USER[:GROUP]>', 'its user')
    .option('--timeout <DURATION>', 'after which it is killed (default: none)')
    .addHelpText('after', `${EXEC_EXAMPLES}${ADDRESS}`)
    .action(async (id: string, command: string[], options: ExecOptions) => {
      const { interactive: stdin = false, tty: terminal = false, env, workdir: cwd, user } = options;
      if (terminal && stdin && !process.stdin.isTTY) throw new UsageError('the input device is not a TTY');
      const spec = {
        ...{ command, stdin },
        ...defined({ env: env && variablesOf(env), cwd, user }),
        ...defined({ timeout: given(options.timeout, parseDuration, '--timeout') }),
        ...(terminal ? { terminal: terminalSize(process.stdout) ?? NO_SIZE } : {}),
      };
      const { stdout, stderr } = process;
      const streams = { stdin: stdin ? process.stdin : undefined, stdout, stderr };
      const held = holdOutput({ terminal, stdin });
      const running = await RemoteExec.start(new ServiceClient(options), `/v1/sandboxes${idPath(id)}`, spec, streams);
      const exit = running.exit.then(({ exitCode, timedOut }) => {
        if (timedOut) stderr.write('tsvm: the command has timed out\n');
        return exitCode;
      });
      context.exitCode = await inForeground(running, exit, { held }, { terminal, stdin });
    });
}

const CP_EXAMPLES = `
Examples:
  tsvm sandbox cp ./src sb-8ab6f329913c4fb9:/srv
  tsvm sandbox cp sb-8ab6f329913c4fb9:/var/log/app.log .
  tsvm sandbox cp sb-8ab6f329913c4fb9:/srv - | tar t
  tar c site | tsvm sandbox cp - sb-8ab6f329913c4fb9:/srv

If DESTINATION is an existing directory, SOURCE is copied into it, otherwise as it. SOURCE/. copies only the contents.
Files belong to root in the sandbox and to the caller on the host. What a link at SOURCE leads to is not copied.
`;

export function cp(context: Context): Command {
  return createCommand('tsvm sandbox cp', context)
    .description('Copies files between a sandbox of a service and the host.')
    .usage('[options] SANDBOX:PATH HOSTPATH|-\n       tsvm sandbox cp [options] HOSTPATH|- SANDBOX:PATH')
    .argument('<SOURCE>', 'SANDBOX:PATH, a path on the host, or - for a tar from stdin')
    .argument('<DESTINATION>', 'SANDBOX:PATH, a path on the host, or - for a tar to stdout')
    .addOption(SERVER())
    .addHelpText('after', `${CP_EXAMPLES}${ADDRESS}`)
    .action(async (source: string, destination: string, options: { server: string }) => {
      const [from, to] = [parsePlace(source), parsePlace(destination)];
      const client = new ServiceClient(options);
      if (from.container !== undefined && to.container === undefined) {
        await toHost(client, from.container, from.path, to.path);
      } else if (to.container !== undefined && from.container === undefined) {
        await toSandbox(client, from.path, to.container, to.path);
      } else throw new UsageError('exactly one of source and destination must be SANDBOX:PATH');
    });
}

async function toHost(client: ServiceClient, id: string, from: string, to: string): Promise<void> {
  const path = posix.resolve('/', from);
  await client.read(filesPath(id, path), {}, async (archive) => {
    if (to === '-') await pipeline(archive, process.stdout, { end: false });
    else await copyArchive(archive, isContents(from) ? `${path}/.` : path, to);
  });
}

async function toSandbox(client: ServiceClient, from: string, id: string, to: string): Promise<void> {
  const path = posix.resolve('/', to);
  if (from === '-') return extract(client, id, path, process.stdin);
  const isFolder = await isDirectory(client, id, path);
  if (!isFolder && to.endsWith('/')) throw new ClientError(`no such directory: ${path}`);
  const own = isContents(from) ? '.' : posix.basename(resolve(from));
  const [folder, name] = isFolder ? [path, own] : [posix.dirname(path), posix.basename(path)];
  await extract(client, id, folder, archiveFiles([{ path: from, name }]));
}

/** As in Docker, `SOURCE/.` is what is in it. */
const isContents = (path: string): boolean => /(^|\/)\.$/.test(path);

async function isDirectory(client: ServiceClient, id: string, path: string): Promise<boolean> {
  try {
    await extract(client, id, path, once(EMPTY_ARCHIVE));
    return true;
  } catch (error) {
    if (error instanceof RefusedError && error.problem === 'no-file') return false;
    throw error;
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function extract(
  client: ServiceClient,
  id: string,
  path: string,
  content: AsyncIterable<Uint8Array>,
): Promise<void> {
  const headers = { 'Content-Type': 'application/x-tar' };
  (await client.open(filesPath(id, path), { method: 'PUT', headers, content })).resume();
}

function filesPath(id: string, path: string): string {
  return `/v1/sandboxes${idPath(id)}/files?${new URLSearchParams({ path })}`;
}

export function show(context: Context): Command {
  return showCommand(context, { group: 'sandbox', kind: 'sandboxes', argument: '<SANDBOX>' });
}

export function pause(context: Context): Command {
  return eachCommand(
    context,
    'pause',
    'Pauses sandboxes: nothing in them runs, and their lifetimes do not pass.',
  ).action((ids: string[], options: { server: string }) =>
    each(ids, options, (client, path) => client.call(`${path}/pause`, { method: 'POST' })),
  );
}

export function resume(context: Context): Command {
  return eachCommand(context, 'resume', 'Lets paused sandboxes go on. Their lifetimes begin anew.')
    .option('--lifetime <DURATION>', 'after which they end (default: as they were created)')
    .action((ids: string[], options: { server: string; lifetime?: string }) => {
      const body = defined({ lifetime: given(options.lifetime, parseDuration, '--lifetime') });
      return each(ids, options, (client, path) => client.call(`${path}/resume`, { method: 'POST', body }));
    });
}

export function rm(context: Context): Command {
  return eachCommand(context, 'rm', 'Ends sandboxes with everything in them.').action(
    (ids: string[], options: { server: string }) =>
      each(ids, options, async (client, path) => (await client.open(path, { method: 'DELETE' })).resume()),
  );
}

/** A command for any number of sandboxes. */
function eachCommand(context: Context, name: string, description: string): Command {
  return createCommand(`tsvm sandbox ${name}`, context)
    .description(description)
    .usage('[options] SANDBOX...')
    .argument('<SANDBOX...>', 'their IDs')
    .addOption(SERVER())
    .addHelpText('after', ADDRESS);
}

/** Acts on one after the other, and prints the IDs of those of which that is done. */
async function each(
  ids: string[],
  options: { server: string },
  act: (client: ServiceClient, path: string) => Promise<unknown>,
): Promise<void> {
  const client = new ServiceClient(options);
  for (const id of ids) {
    await act(client, `/v1/sandboxes${idPath(id)}`);
    process.stdout.write(`${id}\n`);
  }
}
