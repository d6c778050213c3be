// The door of the room: builds an image from a Dockerfile and a context.
import { availableParallelism } from 'node:os';
import {
  type BuildStore,
  buildStore,
  formatPlatform,
  isSameMachine,
  type Json,
  MACHINE,
  type ManifestDescriptor,
  type Platform,
  parseName,
  parsePlatform,
} from '../images/build.js';
import type { Home, PullPolicy } from '../sandbox/index.js';
import { BuildError } from './build-error.js';
import { baseConfigs } from './check/base-config.js';
import { type Checked, checkDockerfile } from './check/check.js';
import { checkOptions } from './check/options.js';
import { type Outline, outlineDockerfile } from './check/outline.js';
import { tellingFindings } from './check/telling.js';
import { ArchiveContext } from './context/archive-context.js';
import type { ContextFiles } from './context/context-files.js';
import { ContextTree } from './context/context-tree.js';
import { IgnoreRules } from './context/ignore.js';
import { parseDockerfile } from './dockerfile/parse.js';
import { ExposedReader } from './dockerfile/port.js';
import { checkOutputs, describeBuilt, EXPORTING, exportImages, type Output } from './export.js';
import { MAX_PLATFORMS } from './limits.js';
import type { NamedContexts } from './named-contexts.js';
import { neededStages, planStages, refuseForeignRuns } from './plan.js';
import { type OnEvent, Steps } from './progress.js';
import { type CacheTarget, openSharedCaches } from './shared-caches.js';
import { checkSecrets } from './solve/run-mounts.js';
import type { MachineOptions } from './solve/run-step.js';
import { Slots } from './solve/slots.js';
import { type BuildWork, StageBuilder } from './solve/stage-builder.js';
import { Clock, type StageState } from './solve/stage-state.js';
import { unlessAborted } from './solve/unless-aborted.js';
import { SshAgents, type SshSource } from './ssh/agents.js';

export { BuildError, type BuildErrorCode, excerpt, linesOf, type Place } from './build-error.js';
export type { Checked, Finding } from './check/check.js';
export type { Outline } from './check/outline.js';
export { type Target, targetsOf } from './check/targets.js';
export { ArchiveContext } from './context/archive-context.js';
export { parseIgnore } from './context/ignore.js';
export { isRemote } from './context/remote.js';
export { readStream } from './context/standard-input.js';
export type { Output } from './export.js';
export { readUrl } from './git/context.js';
export { githubSource } from './git/source.js';
export { MAX_DOCKERFILE_BYTES, MAX_IGNORE_BYTES } from './limits.js';
export { contextKey, type NamedContext } from './named-contexts.js';
export type { OnEvent, StepEvent } from './progress.js';
export type { CacheTarget } from './shared-caches.js';
export { CACHE_VOLUME } from './solve/run-mounts.js';
export type { MachineOptions } from './solve/run-step.js';
export { type SshSource, sshSource } from './ssh/agents.js';

export interface BuildOptions {
  home: Home;
  /** The text of the Dockerfile. */
  dockerfile: string;
  /** Path of the context's folder, or an archive. Undefined: there is none. */
  context: string | ArchiveContext | undefined;
  /** What of the context is not seen. */
  ignore?: IgnoreRules | undefined;
  /** Contexts beside it, by `contextKey` of their names. */
  contexts?: NamedContexts;
  /** `NAME[:TAG]` each. */
  names?: readonly string[];
  /** What becomes of the image. Default: it goes into the store. */
  outputs?: readonly Output[];
  target?: string | undefined;
  /** What it is built for. Several: an image each, and an index of them. Default: this machine. */
  platforms?: readonly string[];
  buildArgs?: Readonly<Record<string, string>>;
  labels?: Readonly<Record<string, string>>;
  /** What `RUN --mount=type=secret` shows, by ID. */
  secrets?: ReadonlyMap<string, Buffer>;
  /** The agents of `RUN --mount=type=ssh`, by ID. */
  ssh?: ReadonlyMap<string, SshSource>;
  noCache?: boolean;
  /** Folders that another build has written its steps to. */
  cacheFrom?: readonly string[];
  /** Where the steps are written once the image is made. */
  cacheTo?: readonly CacheTarget[];
  /** Default `missing`. */
  pull?: PullPolicy;
  /** `none`, `default` or `host`. */
  network?: string;
  machine?: MachineOptions;
  /** Seconds since 1970, of all that the build makes. Default: the time now. */
  epoch?: number | undefined;
  onEvent?: OnEvent;
  /** Aborted, the build ends: its machines are stopped, and it leaves no image. */
  signal?: AbortSignal;
}

const IMAGE: Output = { type: 'image' };

export interface Built {
  /** The image's ID, `sha256:<hex>`. Of several platforms: the digest of their index. */
  id: string;
  /**
   * Of the manifest or index, as archives have it: with uncompressed layers. A push has its own.
   */
  descriptor: ManifestDescriptor;
}

/**
 * Builds an image for each platform, and gives them to the outputs.
 * @throws BuildError, ImageError, SandboxError, MachineError; the reason of the signal
 */
export async function build(options: BuildOptions): Promise<Built> {
  const {
    home,
    names = [],
    contexts: named = new Map(),
    outputs = [IMAGE],
    buildArgs = {},
    labels = {},
    secrets = new Map(),
    ssh = new Map(),
    noCache = false,
    cacheFrom = [],
    cacheTo = [],
    machine = {},
  } = options;
  for (const name of names) parseName(name);
  checkSecrets(secrets);
  const dockerfile = parseDockerfile(options.dockerfile);
  const platforms = differentPlatforms(options.platforms);
  checkOutputs(outputs, platforms);
  const plans = platforms.map((platform) => {
    const plan = planStages(dockerfile, { target: options.target, buildArgs, contexts: named, platform });
    refuseForeignRuns(plan);
    return { plan, platform };
  });
  const { isError } = checkOptions(dockerfile.check, buildArgs);
  const steps = new Steps(options.onEvent);
  const clock = new Clock(options.epoch ?? epochOf(buildArgs));
  const slots = new Slots(Math.max(1, availableParallelism()));
  const store = buildStore(home.path);
  await using cache = await store.begin();
  using contexts = new Contexts(options);
  const failure = new AbortController();
  using _ending = following(options.signal, (reason) => failure.abort(reason));
  await using agents = await SshAgents.open(ssh, failure.signal);
  const findImage = imagesOf(options, store, failure.signal);
  const checking = checkDockerfile(options.dockerfile, {
    ...{ target: options.target, buildArgs, ignore: options.ignore, contexts: named, platform: platforms[0] },
    baseConfig: async (...base) => store.base(await findImage(...base)).config,
  });
  await using _telling = tellingFindings(checking, steps, options.signal);
  if (isError) await failOnFindings(checking);
  const signal = failure.signal;
  const sharing = { store, cache, steps, signal };
  const shared = {
    ...{ home, store, cache, steps, clock, buildArgs, secrets, agents, machine },
    exposed: new ExposedReader(),
    noCache,
    shared: await openSharedCaches(noCache ? [] : cacheFrom, sharing),
    network: options.network ?? 'default',
    contexts: named,
    showsPlatform: platforms.length > 1,
    making: new Map(),
    image: findImage,
    context: () => contexts.open(),
    folder: (key: string) => contexts.named(key),
    machineSlot: () => slots.take(),
    signal,
  };
  const building = plans.map(({ plan, platform }) => new PlatformBuild({ ...shared, plan, platform }, failure));
  const results = await Promise.all(building.map((each) => each.target())).catch(async (error: unknown) => {
    await Promise.all(building.map((each) => each.settled()));
    throw failure.signal.reason ?? error;
  });
  failure.signal.throwIfAborted();
  const images = results.map((result, index) => {
    for (const [name, value] of Object.entries(labels)) result.settings.setLabel(name, value);
    const config = result.config(clock.created) as Json;
    return { config, layers: result.layers, platform: platforms[index]! };
  });
  const list = { images, names };
  for (const output of outputs) {
    await steps.during(EXPORTING[output.type], () => exportImages(store, list, output, failure.signal));
  }
  for (const { folder, mode } of cacheTo) {
    const states = mode === 'min' ? results : (await Promise.all(building.map((each) => each.all()))).flat();
    const made = new Map(states.flatMap((state) => [...state.steps]));
    await steps.during('exporting cache to client directory', () => store.writeSteps(folder, made, signal));
  }
  return describeBuilt(store, list);
}

/** The stages of one platform's image. Stages that do not wait for each other run at once. */
class PlatformBuild {
  readonly #work: BuildWork;
  readonly #failure: AbortController;
  readonly #stages = new Map<number, Promise<StageState>>();

  constructor(work: Omit<BuildWork, 'stage'>, failure: AbortController) {
    this.#work = { ...work, stage: (index) => this.#stage(index) };
    this.#failure = failure;
    for (const index of neededStages(work.plan)) this.#stage(index).catch(() => {});
  }

  target(): Promise<StageState> {
    return this.#stage(this.#work.plan.target);
  }

  /** All stages that were built. */
  all(): Promise<StageState[]> {
    return Promise.all(this.#stages.values());
  }

  /** Waits for the end of all stages. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#stages.values());
  }

  #stage(index: number): Promise<StageState> {
    let stage = this.#stages.get(index);
    if (stage === undefined) {
      stage = new StageBuilder(this.#work, this.#work.plan.stages[index]!).build();
      // The first failure ends what the other stages do.
      stage.catch((error: unknown) => this.#failure.abort(error));
      this.#stages.set(index, stage);
    }
    return stage;
  }
}

/** Each platform once. @throws BuildError `too-large`; ImageError `bad-reference` */
function differentPlatforms(given: readonly string[] = []): [Platform, ...Platform[]] {
  const [first = MACHINE, ...others] = new Map(
    given.map(parsePlatform).map((platform) => [formatPlatform(platform), platform]),
  ).values();
  if (others.length >= MAX_PLATFORMS) {
    throw new BuildError('too-large', `a build has at most ${MAX_PLATFORMS} platforms`);
  }
  return [first, ...others];
}

async function failOnFindings(checking: Promise<Checked>): Promise<void> {
  const { error, isViolated } = await checking;
  if (isViolated) throw error;
}

/** Finds each image once, and pulls it if it has to be. */
function imagesOf(
  { home, pull = 'missing' }: BuildOptions,
  store: BuildStore,
  signal: AbortSignal,
): BuildWork['image'] {
  const known = new Map<string, Promise<string>>();
  return (reference, platform) => {
    const text = formatPlatform(platform);
    const key = `${text} ${reference}`;
    let image = known.get(key);
    if (image === undefined) {
      const found = isSameMachine(platform, MACHINE)
        ? home.images.resolve(reference, { pull, platform: text }).then(({ digest }) => digest)
        : store.foreign(reference, platform, pull);
      image = unlessAborted(found, signal);
      image.catch(() => {});
      known.set(key, image);
    }
    return image;
  };
}

/** What a Dockerfile is looked at for, without building it. */
export interface InspectOptions
  extends Pick<BuildOptions, 'home' | 'dockerfile' | 'ignore' | 'target' | 'buildArgs' | 'contexts' | 'platforms'> {}

/** Docker's build checks of a Dockerfile: of all its stages, or those that a target needs. */
export function check({ dockerfile, ...options }: InspectOptions): Promise<Checked> {
  return checkDockerfile(dockerfile, { ...surveyOptions(options), allStages: true });
}

/** What a build of a target takes. @throws BuildError */
export function outline({ dockerfile, ...options }: InspectOptions): Promise<Outline> {
  return outlineDockerfile(dockerfile, surveyOptions(options));
}

function surveyOptions(options: Omit<InspectOptions, 'dockerfile'>) {
  const { home, ignore, target, contexts, buildArgs = {} } = options;
  const [platform] = differentPlatforms(options.platforms);
  return { ignore, target, contexts, buildArgs, platform, baseConfig: baseConfigs(home) };
}

/** Calls `act` once a signal is aborted, until it is disposed of. */
function following(signal: AbortSignal | undefined, act: (reason: unknown) => void): Disposable {
  const onAbort = () => act(signal?.reason);
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort);
  return { [Symbol.dispose]: () => signal?.removeEventListener('abort', onAbort) };
}

/** The context of a build, opened once. */
class Contexts implements Disposable {
  readonly #options: BuildOptions;
  readonly #folders: ContextTree[] = [];
  readonly #named = new Map<string, ContextFiles>();
  #context: ContextFiles | undefined;

  constructor(options: BuildOptions) {
    this.#options = options;
  }

  open(): ContextFiles {
    const { context, ignore = new IgnoreRules() } = this.#options;
    if (context === undefined) throw new BuildError('bad-context', 'this build has no context to copy files from');
    this.#context ??= this.#files(context, ignore);
    return this.#context;
  }

  /** A named context that has files. */
  named(key: string): ContextFiles {
    const context = this.#options.contexts?.get(key);
    if (context?.is !== 'folder') throw new RangeError(`no folder: ${key}`);
    let files = this.#named.get(key);
    if (files === undefined) {
      files = this.#files(context.files, context.ignore ?? new IgnoreRules());
      this.#named.set(key, files);
    }
    return files;
  }

  #files(from: string | ArchiveContext, ignore: IgnoreRules): ContextFiles {
    if (from instanceof ArchiveContext) return from.files(ignore);
    const tree = new ContextTree(from, ignore);
    this.#folders.push(tree);
    return tree;
  }

  [Symbol.dispose](): void {
    for (const tree of this.#folders) tree[Symbol.dispose]();
  }
}

function epochOf(buildArgs: Readonly<Record<string, string>>): number | undefined {
  const text = buildArgs.SOURCE_DATE_EPOCH;
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,11}$/.test(text)) throw new BuildError('bad-option', `invalid SOURCE_DATE_EPOCH: ${text}`);
  return Number(text);
}
