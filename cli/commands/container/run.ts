// tsvm run: runs a command in a new container.
import type { Command } from 'commander';
import type { Container, ContainerSpec } from '../../../sandbox/internal.js';
import { Supervision } from '../../../sandbox/machines.js';
import { callerIo, inForeground } from '../../foreground/caller.js';
import type { DetachKeys } from '../../foreground/detach-keys.js';
import { startAttached } from '../../foreground/foreground.js';
import { makeAndTake } from '../../foreground/signals.js';
import { addContainerOptions, CIDFILE_OPTION, toContainerSpec } from '../../options/container-options.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { DEFAULT_DETACH_KEYS, DETACH_KEYS_OPTION } from '../../options/detach-keys.js';
import { UsageError } from '../../output/errors.js';
import type { Level } from '../../output/log.js';
import { startWarnings } from '../../output/warnings.js';
import { type Context, createCommand, openLog } from '../command.js';
import { newContainer } from './new-container.js';
import { runSnapshot, SNAPSHOT_OPTION } from './run-snapshot.js';

const EXAMPLES = `
Examples:
  tsvm run --rm debian:12 cat /etc/os-release
  tsvm run --rm -it --cpus 2 -m 1g debian:12 bash
  tsvm run -d --name web --restart on-failure:3 debian:12 /srv/start
  tar c src | tsvm run --rm -i -w /src debian:12 tar x
  tsvm run -d --snapshot ready --name web2
  tsvm run --rm --timeout 30s --read-only --tmpfs /tmp oci:build/image make check

The exit code is the command's own; 128+n when signal n ended it; 124 when --timeout did;
127 when it was not found, 126 when it could not be invoked, 125 when tsvm itself failed.
Without --rm the container is kept: see 'tsvm ps -a'.`;

interface Options {
  detach?: boolean;
  detachKeys?: DetachKeys;
}

const OPTIONS: readonly Declaration<Options>[] = [
  { flags: '-d, --detach', help: 'run in the background, and print the container ID', field: 'detach' },
  DETACH_KEYS_OPTION,
];

export function command(context: Context): Command {
  const command = createCommand('tsvm run', context);
  addContainerOptions(
    command.description('Runs a command in a new container, which has a virtual machine of its own.'),
  );
  // With --snapshot there is no image.
  for (const argument of command.registeredArguments) argument.required = false;
  return addOptions(addOptions(command, OPTIONS), [SNAPSHOT_OPTION])
    .addHelpText('after', EXAMPLES)
    .action(async (image: string | undefined, words: string[]) => {
      const options = { ...readOptions(OPTIONS, command), ...readOptions([CIDFILE_OPTION], command) };
      const { snapshot } = readOptions([SNAPSHOT_OPTION], command);
      if (snapshot !== undefined) {
        const { detach = false, detachKeys: keys = DEFAULT_DETACH_KEYS } = options;
        const given = image === undefined ? [] : [image, ...words];
        context.exitCode = await runSnapshot(given, { snapshot, detach, keys }, command, context);
        return;
      }
      if (image === undefined) throw new UsageError("missing required argument 'IMAGE'");
      const spec = toContainerSpec(image, words, command);
      if (!options.detach && spec.terminal && spec.stdin && !process.stdin.isTTY) {
        throw new UsageError('the input device is not a TTY');
      }
      context.exitCode = await run(spec, options, context);
    });
}

async function run(
  spec: ContainerSpec,
  { detach, detachKeys: keys = DEFAULT_DETACH_KEYS, cidfile }: Options & { cidfile?: string },
  context: Context,
): Promise<number> {
  const log = await openLog(context);
  const isSupervised = !detach && !needsSupervisor(spec, log.level);
  const take = async (container: Container): Promise<number> => {
    const { machine, supervisor } = context.early;
    const started = supervisor && { supervisor };
    const warnings = startWarnings(log);
    if (detach) {
      await container.start({ ...started, ...warnings });
      process.stdout.write(`${container.id}\n`);
      return 0;
    }
    if (!isSupervised) {
      return await startAttached(container, { stdin: spec.stdin === true, keys, ...started, ...warnings });
    }
    const [stdin, terminal] = [spec.stdin === true, spec.terminal === true];
    const io = callerIo(stdin, terminal);
    const supervision = container.supervise(Supervision, {
      io,
      ...(machine && { machine }),
      log,
      ...warnings,
      machineLog: machineLevel(log.level),
    });
    const exit = supervision.exit.then(({ code }) => code);
    return await inForeground(supervision, exit, io, { terminal, stdin });
  };
  return await makeAndTake(() => newContainer(spec, context, { cidfile, isSupervised }), take);
}

/**
 * Returns true if the container needs a supervisor process, which outlives this one: if it may be
 * restarted, or if the caller may detach from it. Otherwise this process supervises it, which saves
 * a process and a copy of its streams. So it does if it has to show the machine's own log.
 */
function needsSupervisor({ restart, terminal, stdin, console }: ContainerSpec, level: Level): boolean {
  if (restart !== undefined && restart.name !== 'no') return true;
  return terminal === true && stdin === true && !console && ['silent', 'error', 'warn'].includes(level);
}

/**
 * The machine's warnings are about its guest. They are shown only if the user asks for more than
 * warnings.
 */
function machineLevel(level: Level): Level {
  return level === 'warn' ? 'error' : level;
}
