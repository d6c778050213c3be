// The options of jobs and sandboxes at a service that say what their machine has.
import { posix } from 'node:path';
import type { Command } from 'commander';
import { parseEnv } from '../../options/environment.js';
import { parseLabel } from '../../options/labels.js';
import { parseCpus } from '../../options/number.js';
import { parseSize } from '../../options/size.js';
import { UsageError } from '../../output/errors.js';
import { collect, defined } from '../command.js';

export interface MachineOptions {
  env?: string[];
  secret?: string[];
  metadata?: string[];
  cpus?: string;
  memory?: string;
  disk?: string;
  network?: string;
}

export function addMachineOptions(command: Command): Command {
  return command
    .option('-e, --env <NAME[=VALUE]>', 'set a variable', collect)
    .option(
      '--secret <NAME>',
      'a secret of the tenant, at /run/secrets/NAME; source=NAME,target=FILE or source=NAME,env=VARIABLE;' +
        ' with ,host=HOST a token, which becomes the value in requests to HOST',
      collect,
    )
    .option('--metadata <NAME=VALUE>', 'words of your own, which are listed with it', collect)
    .option('--cpus <N>', 'CPUs (default: 1)')
    .option('-m, --memory <SIZE>', 'memory of its machine (default: 512m)')
    .option('--disk <SIZE>', 'size of its writable layer (default: 1g)')
    .option('--network <MODE>', 'none, or public for the public Internet (default: none)');
}

/** What the options say, in the service's words. @throws UsageError */
export function machineOf({ env, secret, metadata, cpus, memory, disk, network }: MachineOptions): object {
  return defined({
    env: env && variablesOf(env),
    secrets: secret?.map(parseSecret),
    metadata: metadata && Object.fromEntries(metadata.map(parseLabel)),
    cpus: given(cpus, parseCpus, '--cpus'),
    memory: given(memory, parseSize, '--memory'),
    disk: given(disk, parseSize, '--disk'),
    network,
  });
}

/** The variables of `-e`. One without a value that this process does not have is none. */
export function variablesOf(env: readonly string[]): object {
  return Object.fromEntries(env.map((text) => parseEnv(text, process.env)).filter(([, value]) => value !== null));
}

/** The value of an option that may be absent. @throws UsageError */
export function given<T>(
  text: string | undefined,
  parse: (text: string, flag: string) => T,
  flag: string,
): T | undefined {
  return text === undefined ? undefined : parse(text, flag);
}

/** Docker's words for a service, and `env`. @throws UsageError */
function parseSecret(text: string): { name: string; env?: string; file?: string; placeholder?: { hosts: string[] } } {
  const place = '(?:,target=(?<target>[^,=]+)|,env=(?<env>[^,=]+))?';
  const form = new RegExp(`^(?:source=(?<source>[^,=]+)${place}(?<hosts>(?:,host=[^,=]+)*)|(?<only>[^,=]+))$`);
  const { source, target, env, hosts = '', only } = form.exec(text)?.groups ?? {};
  const name = source ?? only;
  if (name === undefined) {
    const forms = 'NAME, source=NAME,target=FILE or source=NAME,env=VARIABLE, and ,host=HOST';
    throw new UsageError(`invalid argument '${text}' for --secret: expected ${forms}`);
  }
  const named = hosts.split(',host=').slice(1);
  return {
    name,
    ...(env === undefined ? { file: posix.resolve('/run/secrets', target ?? name) } : { env }),
    ...(named.length === 0 ? {} : { placeholder: { hosts: named } }),
  };
}
