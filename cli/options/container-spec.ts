// The options that say what a container is, for `tsvm run` and `tsvm create`.
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { PullPolicy } from '../../images/index.js';
import type { ContainerSpec, RestartPolicy } from '../../sandbox/internal.js';
import { collect } from './command.js';
import { parseDuration } from './duration.js';
import { parseEnv, readEnvFile } from './environment.js';
import { UsageError } from './failure.js';
import { parseLabel, readLabelFile } from './labels.js';
import { addLimitOptions, type LimitOptions, toLimits } from './limits.js';
import { toMounts } from './mount.js';
import { addNetworkOptions, type NetworkCliOptions, toNetwork } from './network-options.js';
import { parseSize } from './size.js';
import { parseTmpfs } from './tmpfs.js';

export interface ContainerOptions extends LimitOptions, NetworkCliOptions {
  name?: string;
  rm?: boolean;
  label?: string[];
  labelFile?: string[];
  restart?: RestartPolicy;
  stopSignal?: string;
  stopTimeout?: number;
  logOpt?: string[];
  interactive?: boolean;
  tty?: boolean;
  env?: string[];
  envFile?: string[];
  workdir?: string;
  user?: string;
  entrypoint?: string;
  hostname?: string;
  readOnly?: boolean;
  tmpfs?: string[];
  kernel?: string;
  console?: boolean;
  accel: 'auto' | 'kvm' | 'tcg';
  timeout?: number;
  volume?: string[];
  mount?: string[];
  pull: PullPolicy;
  platform?: string;
  cidfile?: string;
}

/** Adds the arguments and options of a new container. */
export function addContainerOptions(command: Command): Command {
  command
    .usage('[options] IMAGE [COMMAND [ARG...]]')
    .passThroughOptions()
    .argument(
      '<IMAGE>',
      'a name from `tsvm images` or a registry, oci:DIR[:TAG], oci-archive:FILE, or docker-archive:FILE',
    )
    .argument('[COMMAND...]', "instead of the image's own, with its arguments")
    .option('--name <NAME>', 'name of the container (default: two words at random)')
    .option('--cidfile <FILE>', "write the container's ID to a new file")
    .option('--rm', 'remove the container when it ends')
    .option('-i, --interactive', 'pass stdin to the command')
    .option('-t, --tty', 'give the command a terminal')
    .option('-e, --env <NAME=VALUE>', 'set a variable; NAME alone takes it from the environment', collect)
    .option('--env-file <FILE>', 'set the variables that a file names', collect)
    .option('-w, --workdir <DIR>', 'working directory')
    .option('-u, --user <USER[:GROUP]>', 'user and group, names or numbers')
    .option('--entrypoint <COMMAND>', "instead of the image's entrypoint")
    .option('-h, --hostname <NAME>', 'host name (default: random)')
    .option('--read-only', "make the container's root file system read-only")
    .option('--tmpfs <DIR[:OPTIONS]>', 'mount a tmpfs: size=, mode=, uid=, gid=, ro, exec, suid, dev', collect)
    .option('-v, --volume <[HOST:]GUEST[:ro]>', "mount a folder or file of the host's, or a volume", collect)
    .option(
      '--mount <FIELDS>',
      'mount: type=bind|volume|tmpfs,source=,target=,readonly,volume-nocopy,tmpfs-size=,tmpfs-mode=',
      collect,
    )
    .option('--kernel <FILE>', 'boot this vmlinux or bzImage')
    .option('--console', "show the guest's serial console on stderr")
    .addOption(
      new Option('--accel <NAME>', 'KVM, or QEMU emulating a CPU')
        .choices(['auto', 'kvm', 'tcg'])
        .default('auto')
        .env('TSVM_ACCEL'),
    )
    .addOption(
      new Option('--pull <WHEN>', 'ask the registry for the image')
        .choices(['missing', 'always', 'never'])
        .default('missing'),
    )
    .option('--platform <OS/ARCH[/VARIANT]>', 'which variant of the image (default: linux/amd64)')
    .option('--timeout <DURATION>', 'end the command after this time: 30s, 5m', (text) =>
      parseDuration(text, '--timeout'),
    )
    .option('-l, --label <NAME=VALUE>', 'mark the container', collect)
    .option('--label-file <FILE>', 'mark the container with the lines of a file', collect)
    .option('--restart <POLICY>', 'start it again: no, on-failure[:N], always, unless-stopped', parseRestart)
    .option('--stop-signal <SIGNAL>', 'what `tsvm stop` sends (default: SIGTERM)')
    .option('--stop-timeout <SECONDS>', 'how long `tsvm stop` waits before it kills (default: 10)', parseSeconds)
    .option('--log-opt <NAME=VALUE>', 'max-size= of a log file (default: 10m), max-file= that are kept (3)', collect);
  return addLimitOptions(addNetworkOptions(command));
}

/** What the words ask for. @throws UsageError */
export function toContainerSpec(image: string, command: string[], options: ContainerOptions): ContainerSpec {
  const { env = [], envFile = [], tmpfs = [], interactive, tty, workdir, user, entrypoint, hostname } = options;
  const { readOnly, console, accel, timeout, name, rm, restart, stopSignal, stopTimeout } = options;
  const { label = [], labelFile = [], logOpt = [] } = options;
  const { mounts, tmpfs: moreTmpfs } = toMounts(options.volume, options.mount);
  return {
    image,
    command,
    ...{ workdir, user, entrypoint, hostname, readOnly, console, accel, timeout },
    ...{ pull: options.pull, platform: options.platform },
    ...{ name, restart, stopSignal, stopTimeout },
    kernel: options.kernel === undefined ? undefined : resolve(options.kernel),
    autoRemove: rm,
    labels: Object.fromEntries([...labelFile.flatMap(readLabelFile), ...label.map(parseLabel)]),
    logs: toLogLimits(logOpt),
    ...toLimits(options),
    // A variable given by -e wins over the files.
    env: [...envFile.flatMap(readEnvFile), ...env.map((text) => parseEnv(text, process.env))],
    mounts,
    network: toNetwork(options),
    tmpfs: [...tmpfs.map(parseTmpfs), ...moreTmpfs],
    terminal: tty,
    stdin: interactive,
  };
}

function parseRestart(text: string): RestartPolicy {
  const match = /^(no|always|unless-stopped|on-failure)(?::(\d{1,6}))?$/.exec(text);
  if (match === null || (match[2] !== undefined && match[1] !== 'on-failure')) {
    throw new UsageError(`invalid argument '${text}' for --restart: no, on-failure[:N], always or unless-stopped`);
  }
  const name = match[1] as RestartPolicy['name'];
  return match[2] === undefined ? { name } : { name, maximumRetryCount: Number(match[2]) };
}

function parseSeconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`invalid argument '${text}' for --stop-timeout: whole seconds`);
  return Number(text);
}

function toLogLimits(words: readonly string[]): ContainerSpec['logs'] {
  if (words.length === 0) return undefined;
  const limits = { maxSize: 10_000_000, maxFiles: 3 };
  for (const word of words) {
    const [name, value = ''] = word.split(/=(.*)/s, 2);
    if (name === 'max-size') limits.maxSize = Math.max(1, parseSize(value, '--log-opt max-size'));
    else if (name === 'max-file' && /^[1-9]\d{0,3}$/.test(value)) limits.maxFiles = Number(value);
    else throw new UsageError(`invalid argument '${word}' for --log-opt: max-size=SIZE or max-file=N`);
  }
  return limits;
}
