// tsvm build: builds an image from a Dockerfile.
import { writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { type BuildError, type Built, excerpt } from '../../../build/index.js';
import { fullReference, parseName } from '../../../images/build.js';
import { printableText } from '../../../printable/index.js';
import { Home } from '../../../sandbox/internal.js';
import { abortOnSignal } from '../../foreground/signals.js';
import { parseCacheFrom, parseCacheTo } from '../../options/build-cache.js';
import { parseCpus } from '../../options/number.js';
import { parseSecrets } from '../../options/secret.js';
import { parseSize } from '../../options/size.js';
import { parseSsh } from '../../options/ssh.js';
import { openBuildProgress } from '../../output/build-progress.js';
import { UsageError } from '../../output/errors.js';
import { type Context, collect, createCommand, defined } from '../command.js';
import { parseCall, runCall } from './build-call.js';
import { openContexts } from './build-contexts.js';
import { openOutputs } from './build-outputs.js';
import { openSource } from './build-source.js';

const ACCELERATORS = ['auto', 'kvm', 'tcg', 'uml'] as const;
const PROGRESS = ['auto', 'tty', 'plain', 'rawjson', 'quiet'] as const;

/** Go's words for true (strconv.ParseBool). */
const KEEPS = /^(1|t|T|TRUE|true|True)$/;

interface Options {
  tag?: string[];
  file?: string;
  buildContext?: string[];
  target?: string;
  buildArg?: string[];
  label?: string[];
  secret?: string[];
  ssh?: string[];
  cache: boolean;
  cacheFrom?: string[];
  cacheTo?: string[];
  pull?: boolean;
  check?: boolean;
  call?: string;
  network?: string;
  addHost?: string[];
  output?: string[];
  platform?: string[];
  iidfile?: string;
  metadataFile?: string;
  progress: (typeof PROGRESS)[number];
  memory?: string;
  cpus?: string;
  accel?: (typeof ACCELERATORS)[number];
}

const EXAMPLES = `
Examples:
  tsvm build -t web .
  tsvm build -t web:test --target test --build-arg VERSION=2 -f docker/Dockerfile .
  tsvm build --check .
  tsvm build -t empty - < Dockerfile
  tar c . | tsvm build -t web -
  tsvm build -t web https://example.com/web.tar.gz
  tsvm build -t web https://example.com/web.git#v1.2:server
  tsvm build -t web --platform linux/amd64,linux/arm64 .`;

export function command(context: Context): Command {
  return createCommand('tsvm build', context)
    .description('Builds an image from a Dockerfile and the files of a folder. Prints the ID of the image.')
    .usage('[options] CONTEXT|URL|-')
    .argument(
      '<CONTEXT>',
      'folder or repository of git that COPY takes files from; a URL or - (stdin) gives a tar, or the Dockerfile alone',
    )
    .option('-t, --tag <NAME[:TAG]>', 'name of the image (repeatable)', collect)
    .option('-f, --file <FILE>', 'the Dockerfile, or - for stdin (default: CONTEXT/Dockerfile)')
    .option(
      '--build-context <NAME=CONTEXT>',
      'another context: a folder, a URL, docker-image://IMAGE or oci-layout://DIR[:TAG] (repeatable)',
      collect,
    )
    .option('--target <STAGE>', 'build this stage (default: the last one)')
    .option('--build-arg <NAME[=VALUE]>', 'set a variable that ARG declares (repeatable)', collect)
    .option('--label <NAME=VALUE>', 'add a label to the image (repeatable)', collect)
    .option(
      '--secret <id=ID[,src=FILE|,env=NAME]>',
      'secret for RUN --mount=type=secret: a file or a variable (repeatable)',
      collect,
    )
    .option(
      '--ssh <default|ID[=SOCKET|KEY,...]>',
      'SSH agent for RUN --mount=type=ssh and ADD by ssh: yours, another, or one with these key files (repeatable)',
      collect,
    )
    .option('--no-cache', 'run every step, whatever the cache has')
    .option(
      '--cache-from <type=local,src=DIR>',
      'look for steps in the cache that another build wrote (repeatable)',
      collect,
    )
    .option(
      '--cache-to <type=local,dest=DIR[,mode=min|max]>',
      "write the image's steps, or with mode=max those of all stages, to a folder (repeatable)",
      collect,
    )
    .option('--pull', 'look for newer base images in their registries')
    .option('--check', 'do not build: look for faults in the Dockerfile, as --call check')
    .option(
      '--call <METHOD[,format=json]>',
      'build, check, outline (what a build takes) or targets (default: build); prints to stdout',
    )
    .addOption(new Option('--network <MODE>', 'network of RUN (default: default)').choices(['default', 'none', 'host']))
    .option('--add-host <NAME:IP>', 'add an entry to /etc/hosts of RUN; host-gateway is the host (repeatable)', collect)
    .option(
      '-o, --output <DEST>',
      'DIR, - or type=local|tar|oci|docker|image[,dest=PATH]: where the result goes (default: the store; repeatable)',
      collect,
    )
    .option(
      '--platform <OS/ARCH[/VARIANT],...>',
      'what to build for (default: linux/amd64); several: an image each, and an index of them',
      collect,
    )
    .option('--iidfile <FILE>', 'write the ID of the image to a file')
    .option('--metadata-file <FILE>', 'write digests of the image and of its manifest to a file, as JSON')
    .addOption(
      new Option('--progress <FORM>', 'how progress is shown (default: auto)').choices(PROGRESS).default('auto', ''),
    )
    .option('-m, --memory <SIZE>', 'memory of the machine of a RUN (default: 512m)')
    .option('--cpus <NUMBER>', 'CPUs of the machine of a RUN (default: 1)')
    .addOption(
      new Option('--accel <NAME>', 'run on KVM, on a CPU that QEMU emulates, or on User-Mode Linux (default: auto)')
        .choices(ACCELERATORS)
        .env('TSVM_ACCEL'),
    )
    .addHelpText('after', EXAMPLES)
    .action((folder: string, options: Options) => run(folder, options, context));
}

async function run(folder: string, options: Options, context: Context): Promise<void> {
  const { build, sshSource } = await import('../../../build/index.js');
  const { file, tag = [], iidfile, metadataFile } = options;
  const call = parseCall(options.check ? 'check' : (options.call ?? 'build'));
  const form = options.progress === 'auto' ? 'tty' : options.progress === 'quiet' ? 'none' : options.progress;
  const machine = defined({
    accel: options.accel,
    memory: options.memory === undefined ? undefined : parseSize(options.memory, '--memory'),
    cpus: options.cpus === undefined ? undefined : parseCpus(options.cpus, '--cpus'),
    network: options.addHost === undefined ? undefined : { hosts: options.addHost },
  });
  const outputs = openOutputs(options.output ?? []);
  using ending = abortOnSignal();
  const home = new Home();
  const args = buildArgs(options.buildArg ?? []);
  const keepsGit = KEEPS.test(args.BUILDKIT_CONTEXT_KEEP_GIT_DIR ?? '');
  await using contexts = await openContexts(options.buildContext ?? [], { home, keepsGit, signal: ending.signal });
  await using source = await openSource(home, { context: folder, file, keepsGit }, ending.signal);
  const about = {
    home,
    dockerfile: source.dockerfile,
    ignore: source.ignore,
    contexts: contexts.named,
    buildArgs: args,
    ...defined({ target: options.target, platforms: options.platform?.flatMap((text) => text.split(',')) }),
  };
  try {
    if (call.method !== 'build') {
      context.exitCode = await runCall(call, about, source.name);
      return;
    }
    const progress = openBuildProgress(context.options.quiet ? 'none' : form);
    const built = await build({
      ...about,
      context: source.context,
      names: tag,
      outputs: outputs.list,
      labels: labels(options.label ?? []),
      secrets: parseSecrets(options.secret ?? []),
      ssh: new Map([...parseSsh(options.ssh ?? [])].map(([id, paths]) => [id, sshSource(paths)])),
      noCache: !options.cache,
      cacheFrom: (options.cacheFrom ?? []).map(parseCacheFrom),
      cacheTo: (options.cacheTo ?? []).map(parseCacheTo),
      pull: options.pull ? 'always' : 'missing',
      machine,
      onEvent: progress.onEvent,
      signal: ending.signal,
      ...defined({ network: options.network, epoch: sourceDateEpoch() }),
    }).finally(() => progress.end());
    if (iidfile !== undefined) writeFileSync(iidfile, built.id);
    if (metadataFile !== undefined) writeFileSync(metadataFile, `${JSON.stringify(metadata(built, tag), null, 2)}\n`);
    if (outputs.isIdShown) process.stdout.write(`${built.id}\n`);
  } catch (error) {
    if (isPlaced(error)) {
      process.stderr.write(`${printableText(excerpt(source.name, source.dockerfile, error.place))}\n`);
    }
    throw error;
  }
}

/** The fields are BuildKit's. */
function metadata({ id, descriptor }: Built, names: readonly string[]): object {
  return {
    ...(descriptor.digest !== id && { 'containerimage.config.digest': id }),
    'containerimage.descriptor': descriptor,
    'containerimage.digest': descriptor.digest,
    ...(names.length > 0 && { 'image.name': names.map((name) => fullReference(parseName(name))).join(',') }),
  };
}

type Placed = BuildError & { place: NonNullable<BuildError['place']> };

function isPlaced(error: unknown): error is Placed {
  return error instanceof Error && error.name === 'BuildError' && 'place' in error && error.place !== undefined;
}

/** A name without a value has that of the caller's environment. */
function buildArgs(given: readonly string[]): Record<string, string> {
  const args: Record<string, string> = {};
  for (const text of given) {
    const equals = text.indexOf('=');
    const name = equals < 0 ? text : text.slice(0, equals);
    if (name === '') throw new UsageError(`invalid --build-arg: ${text}`);
    const value = equals < 0 ? process.env[name] : text.slice(equals + 1);
    if (value !== undefined) args[name] = value;
  }
  return args;
}

function labels(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const equals = text.indexOf('=');
      return equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}

function sourceDateEpoch(): number | undefined {
  const { SOURCE_DATE_EPOCH: text } = process.env;
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,11}$/.test(text)) throw new UsageError(`invalid SOURCE_DATE_EPOCH: ${text}`);
  return Number(text);
}
