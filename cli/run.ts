// tsvm run: a command in a new container.
import { type Command, Option } from 'commander';
import type { PullPolicy } from '../images/index.js';
import { attachTerminal, forwardSignals, type RunSpec, runContainer, terminalSize } from '../sandbox/index.js';
import { type Context, collect, createCommand, openLog } from './command.js';
import { parseDuration } from './duration.js';
import { parseEnv, readEnvFile } from './environment.js';
import { UsageError } from './failure.js';
import { warnOfFallback } from './fallback.js';
import { addLimitOptions, type LimitOptions, toLimits } from './limits.js';
import type { Level } from './log.js';
import { toMounts } from './mount.js';
import { openPullProgress } from './pull-progress.js';
import { parseTmpfs } from './tmpfs.js';

const EXAMPLES = `
Examples:
  tsvm run debian:12 cat /etc/os-release
  tsvm run -it --cpus 2 -m 1g debian:12 bash
  tar c src | tsvm run -i -w /src debian:12 tar x
  tsvm run --timeout 30s --read-only --tmpfs /tmp oci:build/image make check

The exit code is the command's own; 128+n when signal n ended it; 124 when --timeout did;
127 when it was not found, 126 when it could not be invoked, 125 when tsvm itself failed.`;

interface Options extends LimitOptions {
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
  volume?: string[];
  mount?: string[];
  kernel?: string;
  console?: boolean;
  accel: 'auto' | 'kvm' | 'tcg';
  timeout?: number;
  pull: PullPolicy;
  platform?: string;
}

export function command(context: Context): Command {
  const command = createCommand('tsvm run', context)
    .description('Runs a command in a new container, in a virtual machine of its own.')
    .usage('[options] IMAGE [COMMAND [ARG...]]')
    .passThroughOptions()
    .argument(
      '<IMAGE>',
      'a name from `tsvm images` or a registry, oci:DIR[:TAG], oci-archive:FILE, or docker-archive:FILE',
    )
    .argument('[COMMAND...]', "instead of the image's own, with its arguments")
    .option('--rm', 'remove the container when it ends (always so)')
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
    .option('-v, --volume <HOST:GUEST[:ro]>', "mount a folder or file of the host's, or a named volume", collect)
    .option(
      '--mount <FIELDS>',
      'mount: type=bind|volume|tmpfs,source=,target=,readonly,tmpfs-size=,tmpfs-mode=',
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
    );
  return addLimitOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (image: string, words: string[], options: Options) => {
      context.exitCode = await run(toSpec(image, words, options), context);
    });
}

function toSpec(image: string, command: string[], options: Options): RunSpec {
  const { env = [], envFile = [], tmpfs = [], interactive, tty, workdir, user, entrypoint, hostname } = options;
  const { readOnly, kernel, console, accel, timeout, pull, platform } = options;
  const { mounts, tmpfs: moreTmpfs } = toMounts(options.volume, options.mount);
  return {
    image,
    command,
    ...{ workdir, user, entrypoint, hostname, readOnly, kernel, console, accel, timeout, pull, platform },
    ...toLimits(options),
    // A variable given by -e wins over the files.
    env: [...envFile.flatMap(readEnvFile), ...env.map((text) => parseEnv(text, process.env))],
    mounts,
    tmpfs: [...tmpfs.map(parseTmpfs), ...moreTmpfs],
    terminal: tty,
    stdin: interactive,
  };
}

async function run(spec: RunSpec, context: Context): Promise<number> {
  if (spec.terminal && spec.stdin && !process.stdin.isTTY) throw new UsageError('the input device is not a TTY');
  const log = await openLog(context);
  const { quiet } = context.options;
  using bars = openPullProgress(quiet);
  if (spec.pull === 'always') bars.pulling();
  const container = runContainer(
    spec,
    {
      stdin: spec.stdin ? process.stdin : undefined,
      stdout: process.stdout,
      stderr: process.stderr,
      terminalSize: terminalSize(process.stdout),
    },
    {
      log,
      machine: context.machine,
      onProgress: bars.update.bind(bars),
      onMissing: (image) => {
        bars.pulling();
        if (!quiet) process.stderr.write(`Unable to find image '${image}' locally\n`);
      },
      onFallback: (reason) => warnOfFallback(reason, log),
      machineLog: machineLevel(log.level),
    },
  );
  container.started.then(() => bars[Symbol.dispose]());
  using _signals = forwardSignals(container);
  using _terminal = spec.terminal
    ? attachTerminal(container, spec.stdin ? process.stdin : undefined, process.stdout)
    : undefined;
  const { code } = await container.exit;
  return code;
}

/** The machine's warnings are about its guest, and for those who look into it. */
function machineLevel(level: Level): Level {
  return level === 'warn' ? 'error' : level;
}
