// tsvm job: a client of a service's jobs.
import { randomUUID } from 'node:crypto';
import { posix } from 'node:path';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { messageOf } from '../../../errors/index.js';
import { printableLine } from '../../../printable/index.js';
import { archiveFiles, copyArchive } from '../../../sandbox/internal.js';
import { readUserFile } from '../../../user-files/index.js';
import { parseDuration } from '../../options/duration.js';
import { parseCount, parseInteger } from '../../options/number.js';
import { FAILED, UsageError } from '../../output/errors.js';
import type { Columns } from '../../output/listing.js';
import { endWithReader } from '../../output/reader.js';
import { type Context, collect, createCommand, defined } from '../command.js';
import { ADDRESS, ClientError, idPath, SERVER, ServiceClient } from './client.js';
import { followOutput, type Line } from './follow.js';
import { listCommand } from './list-command.js';
import { addMachineOptions, given, type MachineOptions, machineOf } from './machine-options.js';
import { showCommand } from './show-command.js';

/** Milliseconds between looks at a job. */
const PAUSE = 500;
const STATUSES = ['queued', 'starting', 'running', 'ended'];

/** What this reads of a job. */
interface Job {
  id: string;
  image: string;
  command: string[];
  status: string;
  attempts: number;
  created: string;
  reason?: string;
  exitCode?: number;
  error?: string;
  outputs?: string;
}

interface RunOptions extends MachineOptions {
  server: string;
  detach?: boolean;
  workdir?: string;
  user?: string;
  timeout?: string;
  deadline?: string;
  retries?: string;
  priority?: string;
  idempotencyKey?: string;
  callback?: string;
  interactive?: boolean;
  file?: string[];
  outputs?: string;
}

export function run(context: Context): Command {
  const command = createCommand('tsvm job run', context)
    .description('Queues a job, prints its output, and exits with its exit code.')
    .usage('[options] IMAGE [COMMAND [ARG...]]')
    .passThroughOptions()
    .argument('<IMAGE>', "an image of the tenant's")
    .argument('[COMMAND...]', "the program and its arguments (default: the image's)")
    .addOption(SERVER())
    .option('-d, --detach', 'print the ID of the job, and wait for nothing');
  return addMachineOptions(command)
    .option('-w, --workdir <PATH>', 'its working directory')
    .option('-u, --user <USER[:GROUP]>', 'its user')
    .option('-i, --interactive', 'read stdin to its end, and give it to the program')
    .option('--file <SOURCE:TARGET>', 'copy a file or folder to an absolute path in it before it starts', collect)
    .option('--outputs <PATH>', 'a file or folder that is kept at its end, for tsvm job cp')
    .option('--timeout <DURATION>', 'how long one run may take (default: 1h)')
    .option('--deadline <DURATION>', 'when it must have ended, from now on (default: none)')
    .option('--retries <N>', 'how often it runs again if it failed, timed out or was lost (default: 0)')
    .option('--priority <N>', "the highest of the tenant's jobs is first (default: 0)")
    .option('--idempotency-key <KEY>', 'a second job with this key is the first one')
    .option('--callback <URL>', 'where its record is sent when it has ended')
    .addHelpText('after', `\nExamples:\n  tsvm job run -m 1g --timeout 10m python:3 python -c 'print(1)'\n${ADDRESS}`)
    .action(async (image: string, command: string[], options: RunOptions) => {
      const client = new ServiceClient(options);
      const headers = { 'Idempotency-Key': options.idempotencyKey ?? randomUUID() };
      const body = bodyOf(image, command, options);
      const inputs = await upload(client, options);
      const { id } = await call(client, '', { method: 'POST', headers, body: { ...body, ...inputs } });
      if (options.detach) {
        process.stdout.write(`${id}\n`);
        return;
      }
      await followJob(client, id);
      context.exitCode = exitCodeOf(await waitFor(client, id));
    });
}

export function batch(context: Context): Command {
  return createCommand('tsvm job batch', context)
    .description('Queues the jobs of a file, all of them or none, and prints their IDs.')
    .usage('[options] FILE|-')
    .argument('<FILE>', "JSON as of the service's POST /v1/jobs/batch, or - for stdin")
    .addOption(SERVER())
    .option('--idempotency-key <KEY>', 'a second batch with this key is the first one')
    .addHelpText(
      'after',
      `\nExample:\n  echo '{"jobs": [{"image": "debian:12", "command": ["true"]}]}' | tsvm job batch -\n${ADDRESS}`,
    )
    .action(async (file: string, { idempotencyKey, ...options }: { server: string; idempotencyKey?: string }) => {
      const client = new ServiceClient(options);
      const headers = { 'Idempotency-Key': idempotencyKey ?? randomUUID() };
      const answer = await client.call('/v1/jobs/batch', { method: 'POST', headers, body: readJson(file) });
      for (const { id } of (answer as { jobs: Job[] }).jobs) process.stdout.write(`${id}\n`);
    });
}

/** @throws UsageError */
function readJson(path: string): object {
  const fail = (why: string) => new UsageError(`cannot read ${path === '-' ? 'stdin' : path}: ${why}`);
  let value: unknown;
  try {
    value = JSON.parse(readUserFile(path, { stdin: true }).toString());
  } catch (error) {
    throw fail(messageOf(error));
  }
  if (typeof value !== 'object' || value === null) throw fail('an object is needed');
  return value;
}

/** Sends what the job reads. @throws UsageError, ClientError, SandboxError if a file cannot be read */
async function upload(client: ServiceClient, { interactive, file = [] }: RunOptions): Promise<object> {
  const sources = file.map(parseSource);
  const send = async (content: AsyncIterable<Uint8Array>) => {
    const headers = { 'Content-Type': 'application/octet-stream' };
    const answer = await client.call('/v1/uploads', { method: 'POST', headers, content });
    return { upload: (answer as { upload: string }).upload };
  };
  return defined({
    files: sources.length === 0 ? undefined : await send(archiveFiles(sources)),
    stdin: interactive ? await send(process.stdin) : undefined,
  });
}

interface Source {
  path: string;
  /** Relative to the root of the container. */
  name: string;
}

/** @throws UsageError */
function parseSource(text: string): Source {
  const [, path, to] = /^(.+):\/+(.+)$/s.exec(text) ?? [];
  const name = posix.normalize(to ?? '').replace(/\/$/, '');
  if (path === undefined || name === '.' || name.startsWith('..')) {
    throw new UsageError(`invalid argument '${text}' for --file: expected SOURCE:/TARGET`);
  }
  return { path, name };
}

/** The job of the words of a command line. @throws UsageError */
function bodyOf(image: string, command: string[], options: RunOptions): object {
  const { workdir: cwd, user, timeout, deadline, retries, priority, outputs, callback } = options;
  return defined({
    ...{ image, command, cwd, user, outputs, callback },
    ...machineOf(options),
    timeout: given(timeout, parseDuration, '--timeout'),
    deadline: given(deadline, parseDuration, '--deadline'),
    retries: given(retries, parseCount, '--retries'),
    priority: given(priority, parseInteger, '--priority'),
  });
}

interface Row {
  ID: string;
  Image: string;
  Command: string;
  Status: string;
  Runs: string;
  Created: string;
}

const COLUMNS: Columns<Row> = [
  ['JOB ID', 'ID'],
  ['IMAGE', 'Image'],
  ['COMMAND', 'Command'],
  ['STATUS', 'Status'],
  ['RUNS', 'Runs'],
  ['CREATED', 'Created'],
];
/** Characters of a command in the table. */
const MAX_COMMAND = 30;

export function ls(context: Context): Command {
  return listCommand(context, { group: 'job', kind: 'jobs', statuses: STATUSES, columns: COLUMNS, rowOf });
}

function rowOf({ id, image, command, status, reason, attempts, created }: Job): Row {
  const words = printableLine(command.join(' '));
  return {
    ...{ ID: id, Image: image, Status: reason ?? status, Runs: String(attempts), Created: created },
    Command: words.length > MAX_COMMAND ? `${words.slice(0, MAX_COMMAND - 3)}...` : words,
  };
}

export function show(context: Context): Command {
  return showCommand(context, { group: 'job', kind: 'jobs', argument: '<JOB>' });
}

export function logs(context: Context): Command {
  return createCommand('tsvm job logs', context)
    .description('Prints the output of a job: of the run that is under way, or of the last one.')
    .usage('[options] JOB')
    .argument('<JOB>', 'its ID')
    .addOption(SERVER())
    .option('-f, --follow', 'follow it until the job has ended')
    .addHelpText('after', ADDRESS)
    .action(async (id: string, { follow = false, ...options }: { server: string; follow?: boolean }) => {
      if (follow) endWithReader();
      const client = new ServiceClient(options);
      if (follow) await followJob(client, id);
      else await printOutput(client, id);
    });
}

export function cp(context: Context): Command {
  return createCommand('tsvm job cp', context)
    .description('Copies what a job has left to the host: what --outputs of tsvm job run has named.')
    .usage('[options] JOB HOSTPATH|-')
    .argument('<JOB>', 'its ID')
    .argument('<DESTINATION>', 'a path on the host, or - for a tar to stdout')
    .addOption(SERVER())
    .addHelpText(
      'after',
      `\nIf DESTINATION is an existing directory, it is copied into it, otherwise as it.\n${ADDRESS}`,
    )
    .action(async (id: string, destination: string, options: { server: string }) => {
      const client = new ServiceClient(options);
      const { outputs = '' } = await call(client, idPath(id));
      await client.read(`/v1/jobs${idPath(id)}/files`, {}, async (archive) => {
        if (destination === '-') await pipeline(archive, process.stdout, { end: false });
        else await copyArchive(archive, outputs, destination);
      });
    });
}

export function rm(context: Context): Command {
  return createCommand('tsvm job rm', context)
    .description('Removes jobs that have ended, with their output and files.')
    .usage('[options] JOB...')
    .argument('<JOB...>', 'their IDs')
    .addOption(SERVER())
    .addHelpText('after', ADDRESS)
    .action(async (ids: string[], options: { server: string }) => {
      const client = new ServiceClient(options);
      for (const id of ids) {
        (await client.open(`/v1/jobs${idPath(id)}`, { method: 'DELETE' })).resume();
        process.stdout.write(`${id}\n`);
      }
    });
}

export function cancel(context: Context): Command {
  return createCommand('tsvm job cancel', context)
    .description('Ends a job, and waits until it has ended.')
    .usage('[options] JOB')
    .argument('<JOB>', 'its ID')
    .addOption(SERVER())
    .addHelpText('after', ADDRESS)
    .action(async (id: string, options: { server: string }) => {
      const client = new ServiceClient(options);
      await call(client, `${idPath(id)}/cancel`, { method: 'POST' });
      await waitFor(client, id);
      process.stdout.write(`${id}\n`);
    });
}

export function wait(context: Context): Command {
  return createCommand('tsvm job wait', context)
    .description('Waits until a job has ended, and exits with its exit code.')
    .usage('[options] JOB')
    .argument('<JOB>', 'its ID')
    .addOption(SERVER())
    .addHelpText('after', ADDRESS)
    .action(async (id: string, options: { server: string }) => {
      context.exitCode = exitCodeOf(await waitFor(new ServiceClient(options), id));
    });
}

async function call(client: ServiceClient, path: string, request: Parameters<ServiceClient['call']>[1] = {}) {
  return (await client.call(`/v1/jobs${path}`, request)) as Job;
}

async function waitFor(client: ServiceClient, id: string): Promise<Job> {
  for (;;) {
    const job = await call(client, idPath(id));
    if (job.status === 'ended') return job;
    await sleep(PAUSE);
  }
}

/** As its program exited. @throws ClientError if that is not known */
function exitCodeOf({ reason, exitCode, error }: Job): number {
  if (reason === 'succeeded' || reason === 'failed' || reason === 'timed-out') return exitCode ?? FAILED;
  throw new ClientError(`the job was ${reason}${error === undefined ? '' : `: ${error}`}`);
}

/** Prints the output until the job has ended. */
async function followJob(client: ServiceClient, id: string): Promise<void> {
  for await (const event of followOutput(client, `/v1/jobs${idPath(id)}/events`)) {
    if (event.name === 'line') await print(event.line);
    else process.stderr.write(`tsvm: ${event.bytes} bytes of the output are not kept\n`);
  }
}

async function print({ stream, log }: Line): Promise<void> {
  const output = stream === 'stderr' ? process.stderr : process.stdout;
  if (!output.write(log)) await new Promise((resolve) => output.once('drain', resolve));
}

async function printOutput(client: ServiceClient, id: string): Promise<void> {
  await client.read(`/v1/jobs${idPath(id)}/output`, {}, async (input) => {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      await print(JSON.parse(line) as Line);
    }
  });
}
