// tsvm tenant: the tenants of a service, and their keys. Works whether the service runs or not.
import { type Command, Option } from 'commander';
import { parseCount, parseCpus } from '../../options/number.js';
import { parseSize } from '../../options/size.js';
import { UsageError } from '../../output/errors.js';
import { type Columns, FORMAT_HELP, formatList } from '../../output/listing.js';
import { formatBytes } from '../../output/table.js';
import { type Context, createCommand, defined } from '../command.js';
import { DATA, dataFolder, loadService, openTenants } from './load.js';

export function add(context: Context): Command {
  return createCommand('tsvm tenant add', context)
    .description('Adds a tenant, and prints an API key of it, which is shown once.')
    .usage('[options] --data FOLDER NAME')
    .argument('<NAME>', '1 to 32 of a-z, 0-9 and -')
    .requiredOption(...DATA)
    .option('--sandboxes <N>', 'the most sandboxes', '10')
    .option('--snapshots <N>', 'the most snapshots of its sandboxes', '10')
    .option('--jobs <N>', 'the most jobs that have not ended, with those in the queue', '1000')
    .option('--cpus <N>', 'the most CPUs of its sandboxes and jobs together', '4')
    .option('-m, --memory <SIZE>', 'the most memory of its sandboxes and jobs together', '4g')
    .option('--disk <SIZE>', 'the most bytes of the disks of its sandboxes, their snapshots and jobs together', '50g')
    .option('--files <SIZE>', 'the most bytes of the files of its jobs: uploads, and what they read and leave', '4g')
    .option(...RATE, '100/s')
    .action(async (name: string, options: Record<'data' | Part, string>) => {
      using tenants = await openTenants(options, { isNew: true });
      const key = tenants.add({
        name,
        sandboxes: parseCount(options.sandboxes, '--sandboxes'),
        snapshots: parseCount(options.snapshots, '--snapshots'),
        jobs: parseCount(options.jobs, '--jobs'),
        cpus: parseCpus(options.cpus, '--cpus'),
        memory: parseSize(options.memory, '--memory'),
        disk: parseSize(options.disk, '--disk'),
        files: parseSize(options.files, '--files'),
        rate: options.rate,
      });
      process.stdout.write(`${key}\n`);
    });
}

/** What a key may do: each has what those before it have. */
const SCOPES = ['read', 'submit', 'admin', 'operator'] as const;

interface KeyOptions {
  data: string;
  revoke?: boolean;
  scope: (typeof SCOPES)[number];
}

type Part = 'sandboxes' | 'snapshots' | 'jobs' | 'cpus' | 'memory' | 'disk' | 'files' | 'rate';

const RATE = ['--rate <RATE>', 'the most requests: 10/s, 10/m, 10/h or none'] as const;

const COLUMNS: Columns<Row> = [
  ['NAME', 'Name'],
  ['SANDBOXES', 'Sandboxes'],
  ['SNAPSHOTS', 'Snapshots'],
  ['JOBS', 'Jobs'],
  ['CPUS', 'CPUs'],
  ['MEMORY', 'Memory'],
  ['DISK', 'Disk'],
  ['FILES', 'Files'],
  ['RATE', 'Rate'],
  ['HOME', 'Home'],
];

interface Row {
  Name: string;
  Sandboxes: string;
  Snapshots: string;
  Jobs: string;
  CPUs: string;
  Memory: string;
  Disk: string;
  Files: string;
  Rate: string;
  Home: string;
}

export function ls(context: Context): Command {
  return createCommand('tsvm tenant ls', context)
    .description('Lists tenants, with what they hold of their shares, and their homes. --quiet prints names alone.')
    .usage('[options] --data FOLDER')
    .requiredOption(...DATA)
    .option('--format <FORMAT>', FORMAT_HELP)
    .action(async ({ format, ...options }: { data: string; format?: string }) => {
      const { homePath } = await loadService();
      using tenants = await openTenants(options);
      const rows = tenants.list().map(
        ({ name, sandboxes, snapshots, jobs, cpus, memory, disk, files, rate, held }): Row => ({
          Name: name,
          Sandboxes: String(sandboxes),
          Snapshots: String(snapshots),
          Jobs: String(jobs),
          CPUs: `${held.cpus} / ${cpus}`,
          Memory: `${formatBytes(held.memory)} / ${formatBytes(memory)}`,
          Disk: `${formatBytes(held.disk)} / ${formatBytes(disk)}`,
          Files: formatBytes(files),
          Rate: rate,
          Home: homePath(dataFolder(options), name),
        }),
      );
      if (context.options.quiet) process.stdout.write(rows.map(({ Name }) => `${Name}\n`).join(''));
      else process.stdout.write(formatList(rows, COLUMNS, format));
    });
}

export function set(context: Context): Command {
  return createCommand('tsvm tenant set', context)
    .description('Changes the share of a tenant. What it holds already stays.')
    .usage('[options] --data FOLDER NAME')
    .argument('<NAME>', 'of a tenant')
    .requiredOption(...DATA)
    .option('--sandboxes <N>', 'the most sandboxes')
    .option('--snapshots <N>', 'the most snapshots of its sandboxes')
    .option('--jobs <N>', 'the most jobs that have not ended, with those in the queue')
    .option('--cpus <N>', 'the most CPUs of its sandboxes and jobs together')
    .option('-m, --memory <SIZE>', 'the most memory of its sandboxes and jobs together')
    .option('--disk <SIZE>', 'the most bytes of the disks of its sandboxes, their snapshots and jobs together')
    .option('--files <SIZE>', 'the most bytes of the files of its jobs')
    .option(...RATE)
    .action(async (name: string, { data, ...options }: { data: string } & Partial<Record<Part, string>>) => {
      const given = <T>(text: string | undefined, parse: (text: string, flag: string) => T, flag: string) =>
        text === undefined ? undefined : parse(text, flag);
      const change = defined({
        sandboxes: given(options.sandboxes, parseCount, '--sandboxes'),
        snapshots: given(options.snapshots, parseCount, '--snapshots'),
        jobs: given(options.jobs, parseCount, '--jobs'),
        cpus: given(options.cpus, parseCpus, '--cpus'),
        memory: given(options.memory, parseSize, '--memory'),
        disk: given(options.disk, parseSize, '--disk'),
        files: given(options.files, parseSize, '--files'),
        rate: options.rate,
      });
      if (Object.keys(change).length === 0) throw new UsageError('nothing to change: give one option or more');
      using tenants = await openTenants({ data });
      tenants.set(name, change);
      process.stdout.write(`${name}\n`);
    });
}

export function key(context: Context): Command {
  return createCommand('tsvm tenant key', context)
    .description('Makes another API key of a tenant, which is shown once.')
    .usage('[options] --data FOLDER NAME')
    .argument('<NAME>', 'of a tenant')
    .requiredOption(...DATA)
    .option('--revoke', 'end the keys that it has')
    .addOption(
      new Option(
        '--scope <SCOPE>',
        'read: looks; submit: starts and uses jobs and sandboxes; admin: sets secrets too; operator: looks at all tenants too',
      )
        .choices(SCOPES)
        .default('admin'),
    )
    .action(async (name: string, { revoke, scope, ...options }: KeyOptions) => {
      using tenants = await openTenants(options);
      process.stdout.write(`${tenants.key(name, { revoke: revoke === true, scope })}\n`);
    });
}

export function callbackSecret(context: Context): Command {
  return createCommand('tsvm tenant callback-secret', context)
    .description("Prints what signs the callbacks of a tenant's jobs: the receiver checks them with it.")
    .usage('[options] --data FOLDER NAME')
    .argument('<NAME>', 'of a tenant')
    .requiredOption(...DATA)
    .option('--new', 'another one takes its place')
    .action(async (name: string, options: { data: string; new?: boolean }) => {
      using tenants = await openTenants(options);
      process.stdout.write(`${tenants.callbackSecret(name, { isNew: options.new === true })}\n`);
    });
}

export function rm(context: Context): Command {
  return createCommand('tsvm tenant rm', context)
    .description('Removes a tenant whose sandboxes and jobs have ended, with its keys, records and images.')
    .usage('--data FOLDER NAME')
    .argument('<NAME>', 'of a tenant')
    .requiredOption(...DATA)
    .action(async (name: string, options: { data: string }) => {
      using tenants = await openTenants(options);
      tenants.remove(name);
      process.stdout.write(`${name}\n`);
    });
}
