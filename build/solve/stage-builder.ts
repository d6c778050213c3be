// Builds one stage, an instruction at a time. A step that changes files is looked up in the cache
// by all that it depends on, and made if it is not there.
import {
  type BuildSteps,
  type BuildStore,
  formatPlatform,
  type Inode,
  type Json,
  type LayerTree,
  type Platform,
  parseName,
  type StepResult,
  writtenPlatform,
} from '../../images/build.js';
import type { Home } from '../../sandbox/index.js';
import { BuildError, type Place } from '../build-error.js';
import type { ContextFiles } from '../context/context-files.js';
import { IgnoreRules, rulesOf } from '../context/ignore.js';
import { isRemote } from '../context/remote.js';
import { ExpansionError, expandText, expandWords } from '../dockerfile/expand.js';
import type { CommandForm, CopyInstruction, Instruction } from '../dockerfile/instruction.js';
import { DEFAULT_AGENT, parseMount } from '../dockerfile/mount.js';
import { parseTrigger } from '../dockerfile/parse.js';
import { type ExposedReader, portsOf } from '../dockerfile/port.js';
import { parseGitSource } from '../git/source.js';
import { type NamedContexts, namedContext } from '../named-contexts.js';
import { expanded, findStage, type Plan, refuseForeignRun, type Stage } from '../plan.js';
import { isPredefined } from '../platform-args.js';
import type { Step, Steps } from '../progress.js';
import type { SharedCaches } from '../shared-caches.js';
import type { SshAgents } from '../ssh/agents.js';
import { copyEntries, EMPTY, findSources, type LooseFile } from './copy.js';
import { GitFiles } from './git-files.js';
import { stepKey } from './key.js';
import { directoryEntries, shownPath } from './layer-entries.js';
import { layerTar } from './layer-tar.js';
import { parseMode } from './mode.js';
import { findOwner, type Owner } from './owner.js';
import { RemoteFile } from './remote.js';
import { exportsFor, runCommand } from './run-command.js';
import { filterLayer } from './run-layer.js';
import { HIDDEN, mountLayers, mountPlaces, mountsKey, resolveMounts, type Secrets } from './run-mounts.js';
import { MACHINE_CONFIG, type MachineOptions, runStep } from './run-step.js';
import { type CopySource, contextSource, layersSource } from './source.js';
import { type Clock, StageState } from './stage-state.js';
import { type Archive, type Opening, openArchive } from './unpack.js';

/** What all stages of a build have in common. */
export interface BuildWork {
  home: Home;
  store: BuildStore;
  cache: BuildSteps;
  /** What the cache lacks. */
  shared: SharedCaches;
  plan: Plan;
  /** The context, opened when the first instruction asks for it. */
  context(): ContextFiles;
  contexts: NamedContexts;
  /** A named context that is a folder, by its key, opened likewise. */
  folder(key: string): ContextFiles;
  steps: Steps;
  clock: Clock;
  buildArgs: Readonly<Record<string, string>>;
  exposed: ExposedReader;
  secrets: Secrets;
  agents: SshAgents;
  noCache: boolean;
  machine: MachineOptions;
  /** `none`, `default` or `host`: of RUN without `--network`. */
  network: string;
  /** What the target is built for. */
  platform: Platform;
  /** If true, the titles of steps have it. */
  showsPlatform: boolean;
  /** The ID of an image, which is pulled if it has to be. */
  image(reference: string, platform: Platform): Promise<string>;
  /**
   * The steps that this build makes now, by their keys: those of other platforms may be the same.
   */
  making: Map<string, Promise<StepResult>>;
  /** The result of another stage. */
  stage(index: number): Promise<StageState>;
  /** Waits until one more machine may run. */
  machineSlot(): Promise<Disposable>;
  /** Aborted when the build has failed. */
  signal: AbortSignal;
}

const NO_RULES = new IgnoreRules();

type Of<Kind extends Instruction['kind']> = Extract<Instruction, { kind: Kind }>;

export class StageBuilder {
  readonly #work: BuildWork;
  readonly #stage: Stage;
  #state!: StageState;
  #at = 1;
  #count = 0;
  #hasCommand = false;

  constructor(work: BuildWork, stage: Stage) {
    this.#work = work;
    this.#stage = stage;
  }

  /** @throws BuildError, ImageError, SandboxError */
  async build(): Promise<StageState> {
    this.#state = await this.#base();
    const triggers = this.#state.settings.triggers.map((text) => parseTrigger(text, this.#stage.place));
    this.#state.settings.dropTriggers();
    const instructions = [...triggers, ...this.#stage.instructions];
    this.#count = instructions.length + 1;
    this.#at = 1;
    for (const instruction of instructions) {
      this.#at++;
      await this.#apply(instruction);
    }
    return this.#state;
  }

  async #base(): Promise<StageState> {
    const { base, platform } = this.#stage;
    const { store, steps } = this.#work;
    if (base.is === 'scratch') return new StageState(store, this.#empty(), []);
    if (base.is === 'folder') return await this.#folder(base.key, base.name);
    if (base.is === 'stage') return (await this.#work.stage(base.stage)).continued();
    return steps.during(this.#title(`FROM ${base.reference}`, 1), async () => {
      const { config, layers } = store.base(await this.#work.image(base.reference, platform));
      return new StageState(store, config, layers);
    });
  }

  /** The config of an image without a base. */
  #empty(): Json {
    const { os, architecture, variant } = writtenPlatform(this.#stage.platform);
    return { os, architecture, ...(variant !== '' && { variant }) };
  }

  /** The files of a named context as a stage. */
  async #folder(folder: string, name: string): Promise<StageState> {
    const { store, clock } = this.#work;
    const files = this.#work.folder(folder);
    const told = await contextSource(files).hash(['/'], false, NO_RULES);
    this.#state = new StageState(store, this.#empty(), []);
    const by = `FROM ${name}`;
    await this.#layer(by, stepKey('folder', told, clock.epoch), by, () => {
      const how = { owner: undefined, mode: undefined, now: clock.now, parents: false, excludes: NO_RULES };
      const entries = copyEntries(files.root, EMPTY, { ...how, sources: ['/'], destination: '/' });
      return layerTar(entries, (inode) => files.read(inode), clock.latest);
    });
    return this.#state;
  }

  #title(text: string, at = this.#at): string {
    const { name, index, instructions } = this.#stage;
    const stage = name ?? `stage-${index}`;
    const count = Math.max(this.#count, instructions.length + 1);
    const { plan, showsPlatform } = this.#work;
    const words = [
      ...(showsPlatform ? [formatPlatform(writtenPlatform(this.#stage.platform))] : []),
      ...(plan.stages.length > 1 ? [stage] : []),
      `${at}/${count}`,
    ];
    return `[${words.join(' ')}] ${text}`;
  }

  async #apply(instruction: Instruction): Promise<void> {
    try {
      await this.#applyUnplaced(instruction);
    } catch (error) {
      // Of errors further down, the instruction is the place.
      if (!(error instanceof BuildError) || error.place !== undefined) throw error;
      const { code, message, exitCode } = error;
      const { place } = instruction;
      throw new BuildError(code, message, { place, cause: error, ...(exitCode !== undefined && { exitCode }) });
    }
  }

  async #applyUnplaced(instruction: Instruction): Promise<void> {
    const { settings } = this.#state;
    const { place } = instruction;
    switch (instruction.kind) {
      case 'run':
        return this.#run(instruction);
      case 'copy':
      case 'add':
        return this.#copy(instruction);
      case 'workdir':
        return this.#workdir(this.#word(instruction.value, place), instruction.text);
      case 'arg':
        return this.#arg(instruction);
      case 'env': {
        // All values of one instruction see the variables before it.
        const pairs = instruction.pairs.map(
          ([name, value]) => [this.#word(name, place), this.#word(value, place)] as const,
        );
        for (const [name, value] of pairs) settings.setEnv(name, value);
        return this.#note(`ENV ${pairs.map(([name, value]) => `${name}=${value}`).join(' ')}`);
      }
      case 'label': {
        const pairs = instruction.pairs.map(
          ([name, value]) => [this.#word(name, place), this.#word(value, place)] as const,
        );
        for (const [name, value] of pairs) settings.setLabel(name, value);
        return this.#note(`LABEL ${pairs.map(([name, value]) => `${name}=${value}`).join(' ')}`);
      }
      case 'user':
        settings.user = this.#word(instruction.value, place);
        return this.#note(`USER ${settings.user}`);
      case 'cmd':
        settings.command = this.#argv(instruction.command);
        this.#hasCommand = true;
        return this.#note(`CMD ${JSON.stringify(this.#argv(instruction.command))}`);
      case 'entrypoint':
        settings.setEntrypoint(this.#argv(instruction.command), this.#hasCommand);
        return this.#note(`ENTRYPOINT ${JSON.stringify(this.#argv(instruction.command))}`);
      case 'shell':
        settings.shell = instruction.argv;
        return this.#note(`SHELL ${JSON.stringify(instruction.argv)}`);
      case 'stopsignal':
        settings.stopSignal = this.#signal(instruction);
        return this.#note(`STOPSIGNAL ${this.#word(instruction.value, place)}`);
      case 'maintainer':
        this.#state.author = instruction.value;
        return this.#note(`MAINTAINER ${instruction.value}`);
      case 'expose': {
        const ports = new Set<string>();
        for (const word of instruction.words) {
          for (const text of this.#words(word, place)) {
            for (const port of portsOf(this.#work.exposed.read(text))) ports.add(port);
          }
        }
        settings.expose(ports);
        return this.#note(`EXPOSE ${[...ports].join(' ')}`);
      }
      case 'volume': {
        const paths = instruction.words.map((word) => this.#word(word, place));
        for (const path of paths) settings.addVolume(path);
        return this.#note(`VOLUME ${paths.join(' ')}`);
      }
      case 'healthcheck':
        settings.setHealth(instruction.health);
        return this.#note(`HEALTHCHECK ${instruction.text}`);
      case 'onbuild':
        settings.addTrigger(instruction.trigger);
        return this.#note(`ONBUILD ${instruction.trigger}`);
      case 'from':
        throw new BuildError('bad-dockerfile', 'FROM does not belong here', { place });
    }
  }

  #word(word: string, place: Place): string {
    return expanded(word, (name) => this.#state.lookup(name), this.#work.plan.escapeToken, place);
  }

  #words(word: string, place: Place): string[] {
    try {
      return expandWords(word, (name) => this.#state.lookup(name), this.#work.plan.escapeToken);
    } catch (error) {
      if (!(error instanceof ExpansionError)) throw error;
      throw new BuildError('bad-dockerfile', `failed to process "${word}": ${error.message}`, { place, cause: error });
    }
  }

  #argv(command: CommandForm): string[] {
    return command.form === 'exec' ? command.argv : [...this.#state.settings.shell, command.text];
  }

  #note(text: string): void {
    this.#state.addStep(this.#work.clock.created, text);
  }

  #signal({ value, place }: Of<'stopsignal' | 'user' | 'workdir' | 'maintainer'>): string {
    const signal = this.#word(value, place);
    if (!/^(SIG)?[A-Z0-9+-]+$/i.test(signal))
      throw new BuildError('bad-dockerfile', `Invalid signal: ${signal}`, { place });
    return signal;
  }

  #arg({ args, place, text }: Of<'arg'>): void {
    const { buildArgs, plan } = this.#work;
    for (const { name, value } of args) {
      const own = value === undefined ? plan.globals.get(name) : this.#word(value, place);
      const given = Object.hasOwn(buildArgs, name) ? buildArgs[name] : own;
      if (given !== undefined) this.#state.args.set(name, given);
    }
    this.#note(`ARG ${text}`);
  }

  async #workdir(value: string, text: string): Promise<void> {
    const { settings } = this.#state;
    settings.workdir = absolute(value, settings.workdir);
    const path = bytes(settings.workdir).slice(1);
    const { clock } = this.#work;
    const key = stepKey('workdir', this.#state.layers, path, settings.user, clock.epoch);
    const by = `WORKDIR ${settings.workdir}`;
    const state = this.#state;
    await this.#layer(`WORKDIR ${text}`, key, by, async function* () {
      const owner = await ownerOf(state);
      yield* layerTar(directoryEntries(state.tree.root, path, { owner, now: clock.now }), () => []);
    });
  }

  async #copy(instruction: Of<'copy' | 'add'>): Promise<void> {
    const { place, keyword, text, from, kind, unpack, parents } = instruction;
    const { agents, cache, clock, network, signal, store } = this.#work;
    const word = (value: string) => this.#word(value, place);
    const given = instruction.sources.map(word);
    const sources = given.filter((source) => kind === 'copy' || !isRemote(source)).map(bytes);
    const checksum = instruction.checksum === undefined ? undefined : word(instruction.checksum);
    const named = kind === 'add' ? given.filter(isRemote) : [];
    if (checksum !== undefined && (named.length !== 1 || given.length !== 1)) {
      throw new BuildError('bad-dockerfile', 'ADD --checksum needs one source, which is a URL');
    }
    const remote: RemoteFile[] = [];
    const repositories: GitFiles[] = [];
    for (const source of named) {
      const git = parseGitSource(source);
      const options = { cache, network, signal };
      if (git === undefined) remote.push(new RemoteFile(source, checksum, options));
      else {
        const how = { ...options, store, keepsGit: instruction.keepsGit, agent: agents.socketOf(DEFAULT_AGENT) };
        repositories.push(new GitFiles(git, checksum, how));
      }
    }
    const target = word(instruction.destination);
    const destination = bytes(absolute(target, this.#state.settings.workdir) + (/(^|\/)\.?$/.test(target) ? '/' : ''));
    const chown = instruction.chown === undefined ? undefined : word(instruction.chown);
    const chmod = instruction.chmod === undefined ? undefined : word(instruction.chmod);
    const mode = chmod === undefined ? undefined : parseMode(chmod);
    const excludes = instruction.excludes.map(word);
    const rules = rulesOf(excludes, '--exclude');
    const held = instruction.heredocs.map((heredoc) => ({
      ...{ name: bytes(heredoc.name), contents: this.#contents(instruction, heredoc), mode: 0o644 },
    }));
    const source =
      sources.length === 0 ? undefined : await this.#source(from === undefined ? undefined : word(from), place);
    const told = source === undefined ? '' : await source.hash(sources, parents, rules);
    const downloads: unknown[] = [];
    for (const file of remote) downloads.push([file.name, await file.hash()]);
    for (const repository of repositories) downloads.push(await repository.hash());
    const own = held.map(({ name, contents }) => [name, contents.toString('base64')]);
    const how = [sources, destination, chown, chmod, excludes, parents, unpack, clock.epoch];
    const key = stepKey(kind, this.#state.layers, told, own, downloads, how);
    const by = `${keyword} ${text}`;
    const state = this.#state;
    await this.#layer(`${keyword} ${text}`, key, by, async function* () {
      const owner = chown === undefined ? undefined : await findOwner(state.tree, chown);
      const opening = { cache, store, signal };
      const files: LooseFile[] = held.map((file) => ({ ...file, size: file.contents.length, mtime: clock.now }));
      for (const file of remote) {
        const opened = await file.open();
        const { contents } = opened;
        if (unpack !== true || Buffer.isBuffer(contents)) files.push(opened);
        else files.push({ ...opened, archive: await openArchive(file.name, contents, opening) });
      }
      const trees: LayerTree[] = [];
      for (const repository of repositories) trees.push(await repository.open());
      const isUnpacked = kind === 'add' && unpack !== false && source !== undefined;
      const entries = copyEntries(source?.root ?? EMPTY, state.tree.root, {
        ...{ sources, destination, owner, mode, files, trees, parents },
        ...{ now: clock.now, excludes: rules },
        archives: isUnpacked ? await findArchives(source, sources, opening) : new Map(),
      });
      yield* layerTar(entries, (inode) => source?.read(inode) ?? [], clock.latest);
    });
  }

  #contents({ place }: Of<'copy' | 'add'>, { contents, expands }: CopyInstruction['heredocs'][number]): Buffer {
    if (!expands) return Buffer.from(contents);
    try {
      return Buffer.from(expandText(contents, (name) => this.#state.lookup(name), this.#work.plan.escapeToken));
    } catch (error) {
      if (!(error instanceof ExpansionError)) throw error;
      throw new BuildError('bad-dockerfile', error.message, { place, cause: error });
    }
  }

  /** Where files are copied from. */
  async #source(from: string | undefined, place: Place): Promise<CopySource> {
    if (from === undefined) return contextSource(this.#work.context());
    const { plan, store, platform } = this.#work;
    const stage = findStage(plan.stages, from, this.#stage.index);
    if (stage !== undefined) return layersSource((await this.#work.stage(stage)).layers, store);
    if (findStage(plan.stages, from) !== undefined || /^\d+$/.test(from)) {
      throw new BuildError(
        'bad-dockerfile',
        `invalid from flag value ${from}: no stage before this one has that name`,
        { place },
      );
    }
    const named = namedContext(this.#work.contexts, from);
    if (named?.context.is === 'folder') return contextSource(this.#work.folder(named.key));
    if (named === undefined) parseName(from);
    return layersSource(store.base(await this.#work.image(named?.context.reference ?? from, platform)).layers, store);
  }

  async #run(instruction: Of<'run'>): Promise<void> {
    const { home, cache, clock, machine, machineSlot, signal } = this.#work;
    const { settings, layers } = this.#state;
    const { place } = instruction;
    refuseForeignRun(this.#stage.platform, place);
    const { argv, shown } = runCommand(instruction, settings.shell);
    const args = [...this.#state.args].filter(([name]) => !settings.env.has(name));
    const proxies = Object.entries(this.#work.buildArgs).filter(([name]) => isPredefined(name));
    const env = exportsFor(settings.env, args, proxies);
    const network = instruction.network ?? this.#work.network;
    const hosts = machine.network?.hosts ?? [];
    const seen = args.filter(([name]) => !isPredefined(name));
    const inputs = [
      layers,
      argv,
      instruction.heredocs,
      [...settings.env],
      seen,
      settings.workdir,
      settings.user,
      network,
      // Keys of builds without such entries are those of earlier releases.
      ...(hosts.length > 0 ? [hosts] : []),
    ];
    const parsed = instruction.mounts.map((text) => parseMount(text, (value) => this.#word(value, place)));
    const mounts = await resolveMounts(parsed, this.#work, {
      absolute: (path) => absolute(path, settings.workdir),
      open: (from) => this.#source(from, place),
    });
    const key = stepKey('run', ...inputs, await mountsKey(mounts, parsed), clock.epoch);
    const counted =
      seen.length > 0 ? `|${seen.length} ${seen.map(([name, value]) => `${name}=${value}`).join(' ')} ` : '';
    const by = `RUN ${counted}${argv.join(' ')}`;
    const mode = network === 'host' ? 'default' : network;
    const run = {
      argv,
      env,
      cwd: settings.workdir,
      user: settings.user,
      network: { ...machine.network, mode },
      mounts,
    };
    const state = this.#state;
    await this.#layer(`RUN ${shown}`, key, by, async function* (step) {
      using _slot = await machineSlot();
      const below = [...layers, ...(await mountLayers(mounts, cache, clock.now))];
      await using image = await cache.image({ config: MACHINE_CONFIG, layers: below });
      const layer = runStep({ home, steps: cache, image: image.id, run, machine, step, signal });
      const { root } = state.tree;
      yield* filterLayer(layer, root, { places: mountPlaces(mounts, root), hidden: HIDDEN, latest: clock.latest });
    });
  }

  /** Adds the layer of a step: from the cache, or as `make` makes it. */
  async #layer(title: string, key: string, by: string, make: (step: Step) => AsyncIterable<Buffer>): Promise<void> {
    const { cache, shared, steps, noCache, signal, clock, making } = this.#work;
    signal.throwIfAborted();
    const known = async () => (noCache ? undefined : ((await cache.find(key)) ?? (await shared.find(key))));
    const result = await steps.during(this.#title(title.replace(/\s+/g, ' ')), async (step) => {
      const found = making.get(key) ?? (await known()) ?? making.get(key);
      if (found !== undefined) {
        step.cached();
        return await found;
      }
      const { created } = clock;
      const made = kept(make(step), signal, (tar) => cache.add(key, tar, created)).then((layer) => ({
        layer,
        created,
      }));
      making.set(key, made);
      return await made;
    });
    this.#state.addLayer(key, result, by);
  }
}

/** Keeps what a step makes. A failure of the step is its own, whatever the store makes of it. */
async function kept<T>(
  made: AsyncIterable<Buffer>,
  signal: AbortSignal,
  keep: (tar: AsyncIterable<Buffer>) => Promise<T>,
): Promise<T> {
  let failure: { error: unknown } | undefined;
  const tar = (async function* () {
    try {
      for await (const chunk of made) {
        signal.throwIfAborted();
        yield chunk;
      }
    } catch (error) {
      failure = { error };
      throw error;
    }
  })();
  try {
    return await keep(tar);
  } catch (error) {
    throw failure === undefined ? error : failure.error;
  }
}

/** The user of a stage; undefined if it has none, or no file of the stage knows it. */
async function ownerOf({ settings, tree }: StageState): Promise<Owner | undefined> {
  if (settings.user === '') return undefined;
  try {
    return await findOwner(tree, settings.user);
  } catch (error) {
    if (error instanceof BuildError) return undefined;
    throw error;
  }
}

/** The archives among the sources of ADD. */
async function findArchives(
  source: CopySource,
  sources: readonly string[],
  opening: Opening,
): Promise<Map<Inode, Archive>> {
  const archives = new Map<Inode, Archive>();
  for (const { path, inode } of findSources(source.root, sources)) {
    if (inode.kind !== 'file' || archives.has(inode)) continue;
    const archive = await openArchive(shownPath(path), () => source.read(inode), opening);
    if (archive !== undefined) archives.set(inode, archive);
  }
  return archives;
}

/** An absolute path without `.`, `..` and a slash at its end. */
function absolute(path: string, workdir: string): string {
  const names: string[] = [];
  for (const name of `${path.startsWith('/') ? '' : `${workdir}/`}${path}`.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return `/${names.join('/')}`;
}

/** A text as the trees of files have it: one character for each byte. */
function bytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}
