// tsvm serve: runs sandboxes and jobs of tenants, over HTTP.
import { mkdirSync, statfsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { type Command, Option } from 'commander';
import { parseRange } from '../../../addresses/ip.js';
import { readCertificates } from '../../options/certificates.js';
import { parseCpus } from '../../options/number.js';
import { parseSize } from '../../options/size.js';
import { UsageError } from '../../output/errors.js';
import { type Context, collect, createCommand, openLog } from '../command.js';
import { DATA, dataFolder, loadService } from './load.js';

const LISTEN = '127.0.0.1:7070';
/** The part of the host's memory that sandboxes and jobs get. The rest is for supervisors and the host. */
const SHARE = 0.75;
const ACCELERATORS = ['auto', 'kvm', 'tcg', 'uml'] as const;
/** A part of the name of a host. */
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;
const JAILS = ['require', 'auto'] as const;

interface Options {
  data: string;
  listen: string;
  metrics?: string;
  callbackAllow: string[];
  placeholderAllow: string[];
  placeholderCa?: string;
  cpus?: string;
  memory?: string;
  disk?: string;
  accel: (typeof ACCELERATORS)[number];
  jail: (typeof JAILS)[number];
  template: string[];
  domain?: string;
}

export function command(context: Context): Command {
  return createCommand('tsvm serve', context)
    .description('Runs sandboxes and jobs of tenants, over HTTP. They outlive the server.')
    .usage('[options] --data FOLDER')
    .requiredOption(...DATA)
    .option('--listen <ADDRESS:PORT>', 'where to listen', LISTEN)
    .option('--metrics <ADDRESS:PORT>', 'where Prometheus reads metrics, without a key (default: nowhere)')
    .option(
      '--callback-allow <RANGE>',
      'addresses outside the public Internet that callbacks may reach, such as 10.1.0.0/16',
      (range: string, before: string[]) => [...before, checkRange(range, '--callback-allow')],
      [],
    )
    .option(
      '--placeholder-allow <RANGE>',
      "addresses outside the public Internet of hosts that get values for secrets' placeholders",
      (range: string, before: string[]) => [...before, checkRange(range, '--placeholder-allow')],
      [],
    )
    .option('--placeholder-ca <FILE>', 'certificates (PEM) of CAs of such hosts, besides those of Node.js')
    .option('--cpus <N>', 'CPUs of all sandboxes and jobs together (default: those of the host)')
    .option('-m, --memory <SIZE>', 'memory of all sandboxes and jobs together (default: three quarters of the host)')
    .option('--disk <SIZE>', 'disks of all sandboxes and jobs together (default: the file system of FOLDER)')
    .addOption(
      new Option('--accel <NAME>', 'what runs the machines').choices(ACCELERATORS).default('auto').env('TSVM_ACCEL'),
    )
    .addOption(new Option('--jail <MODE>', "the machines' jail").choices(JAILS).default('require'))
    .option(
      '--template <NAME=IMAGE>',
      "an image by the name of an E2B template; 'base' is the client's default",
      collect,
      [],
    )
    .option(
      '--domain <NAME[:PORT]>',
      'serves ports of sandboxes at hosts PORT-ID.NAME, to whoever has the token (default: none)',
    )
    .addHelpText('after', '\nExamples:\n  tsvm tenant add --data /srv/tsvm acme\n  tsvm serve --data /srv/tsvm')
    .action(
      async ({
        listen,
        metrics,
        callbackAllow,
        cpus,
        memory,
        disk,
        accel,
        jail,
        template,
        domain,
        ...options
      }: Options) => {
        const { placeholderAllow: allow, placeholderCa } = options;
        const ca = placeholderCa === undefined ? undefined : readCertificates(placeholderCa, '--placeholder-ca');
        const log = await openLog(context);
        const { startService } = await loadService();
        const folder = dataFolder(options);
        const service = await startService({
          folder,
          listen: parseAddress(listen, '--listen'),
          callbacks: { allow: callbackAllow },
          upstream: { allow, ...(ca === undefined ? {} : { ca }) },
          ...(metrics === undefined ? {} : { metrics: parseAddress(metrics, '--metrics') }),
          host: {
            cpus: cpus === undefined ? availableParallelism() : parseCpus(cpus, '--cpus'),
            memory: memory === undefined ? Math.floor(totalmem() * SHARE) : parseSize(memory, '--memory'),
            disk: disk === undefined ? sizeOf(folder) : parseSize(disk, '--disk'),
          },
          ...(domain === undefined ? {} : { domain: checkDomain(domain) }),
          templates: new Map(template.map(parseTemplate)),
          ...{ accel, jail, onFault: (message) => log.error(message), onWarning: (message) => log.warn(message) },
        });
        process.stdout.write(`listening on ${service.url}\n`);
        if (service.metricsUrl !== undefined) process.stdout.write(`metrics on ${service.metricsUrl}\n`);
        await new Promise<void>((resolve) => {
          for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
        });
        await service.close();
      },
    );
}

/** Bytes of the file system of a folder, which is made. */
function sizeOf(folder: string): number {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { blocks, bsize } = statfsSync(folder);
  return blocks * bsize;
}

/** `10.1.0.0/16`, or an address. @throws UsageError */
function checkRange(text: string, flag: string): string {
  try {
    parseRange(text);
    return text;
  } catch {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected ADDRESS or ADDRESS/PREFIX`);
  }
}

/** `localhost:7070`, `sandboxes.example.com`. @throws UsageError */
function checkDomain(text: string): string {
  const [, name = '', digits = '1'] = /^([^:]{1,200})(?::(\d{1,5}))?$/.exec(text) ?? [];
  if (name.split('.').every((label) => LABEL.test(label)) && Number(digits) <= 65_535) return text.toLowerCase();
  throw new UsageError(`invalid argument '${text}' for --domain: expected NAME or NAME:PORT`);
}

/** `base=debian:12`. @throws UsageError */
function parseTemplate(text: string): [name: string, image: string] {
  const [, name, image] = /^([^=]{1,512})=(.{1,512})$/.exec(text) ?? [];
  if (name === undefined || image === undefined) {
    throw new UsageError(`invalid argument '${text}' for --template: expected NAME=IMAGE`);
  }
  return [name, image];
}

/** `127.0.0.1:7070` or `[::1]:7070`. @throws UsageError */
function parseAddress(text: string, flag: string): { host: string; port: number } {
  const [, v6, v4, digits] = /^(?:\[([0-9a-f:.]+)\]|([^[\]:]+)):(\d{1,5})$/i.exec(text) ?? [];
  const [host, port] = [v6 ?? v4, Number(digits)];
  if (host === undefined || port > 65_535) {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected ADDRESS:PORT`);
  }
  return { host, port };
}
