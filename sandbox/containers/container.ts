// A container for commands and programs: made or found by name, and then operated. Everything is
// read from its folder or requested from its supervisor; a `Container` caches nothing but its
// configuration.
import { availableParallelism } from 'node:os';
import { type Duplex, PassThrough } from 'node:stream';
import { hasCode } from '../../errors/index.js';
import type { CommitOptions } from '../../images/index.js';
import { type CallOptions, limited } from '../abort.js';
import type { ContainerIo } from '../agent/process-io.js';
import { defined } from '../defined.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { type ContainerConfig, type ContainerState, isRunning, stopTimeoutOf } from '../home/container-record.js';
import type { Home } from '../home/home.js';
import type { LogEntry } from '../home/log-file.js';
import { type ReadLogOptions, readLog } from '../home/log-reader.js';
import { membershipsOf, networksOf } from '../home/networks.js';
import {
  checkSnapshotName,
  type Snapshot,
  SnapshotStore,
  type UnfinishedSnapshot,
} from '../snapshots/snapshot-store.js';
import type { ContainerSpec } from '../spec/container-spec.js';
import { type BoundPort, eachPort } from '../spec/published-ports.js';
import { checkSecrets } from '../spec/secrets.js';
import { type Signal, signalNumber } from '../spec/signal-number.js';
import { openRequest } from '../supervision/control-client.js';
import type { RollbackFiles } from '../supervision/control-protocol.js';
import type { Supervised, SuperviseOptions, Supervision } from '../supervision/supervision.js';
import { type StartOptions, SupervisorProcess } from '../supervision/supervisor-process.js';
import { type Attachment, attach } from './attach.js';
import { type CloneOptions, checkDiskRoom, createClone } from './clone.js';
import { connectContainer, disconnectContainer } from './connect.js';
import { type CreateOptions, createContainer } from './create.js';
import { type Exec, type ExecOptions, type ExecSpec, exec, execDetached } from './exec.js';
import { ContainerFiles } from './files.js';
import { type GuestSocket, listenInGuest } from './guest-listener.js';
import { describeContainer } from './inspect.js';
import { connectPort } from './port-connection.js';
import { diskUsage, type ProcessInfo, readProcesses, readUsage, type Usage } from './report.js';
import { killContainer, stopContainer } from './stop.js';
import { runTool } from './tools.js';

/** The configuration, state and name of a container at one moment. */
export interface ContainerInfo {
  config: ContainerConfig;
  state: ContainerState;
  /** Undefined while it is being removed. */
  name?: string | undefined;
}

export type CommitSpec = Omit<CommitOptions, 'createdBy'>;

export interface ContainerStartOptions extends StartOptions {
  /**
   * A supervisor process that was started in advance.
   * @internal
   */
  supervisor?: SupervisorProcess;
  /**
   * The name of a snapshot of this container. It continues where the snapshot was taken, with that
   * memory, those processes and that writable disk; it is new as a clone is new. What it has written
   * since is lost once it runs. If that fails, it is stopped as before, with its disk as it was.
   */
  checkpoint?: string;
}

/** How to stop a container. */
export interface StopOptions {
  /** Milliseconds between the signal and SIGKILL. Default: the container's own. */
  timeout?: number | undefined;
  /** Sent first. Default: the container's own. */
  signal?: Signal | undefined;
}

export class Container {
  readonly home: Home;
  readonly config: ContainerConfig;
  /** The record in its home. */
  readonly #stored: Supervised;
  readonly #folder: ContainerFolder;
  /** Path of the saved machine that its first start continues. */
  #snapshot: string | undefined;

  private constructor(stored: Supervised, snapshot?: string) {
    this.#snapshot = snapshot;
    this.home = stored.home;
    this.config = stored.config;
    this.#stored = stored;
    this.#folder = stored.folder;
  }

  /**
   * Makes a container, without starting it.
   * @throws SandboxError, ImageError: see `createContainer`
   */
  static async create(home: Home, spec: ContainerSpec, options: CreateOptions = {}): Promise<Container> {
    return new Container({ home, ...(await createContainer(home, spec, options)) });
  }

  /**
   * Makes a clone of the container in a snapshot, without starting it. Its first `start` continues the
   * processes of the snapshot in a machine of its own; if that fails, the clone is removed.
   * @param snapshot the name of one in `home`
   * @throws SandboxError `no-such-snapshot`, `snapshot` if it is damaged, `conflict` if the name is
   *   taken, `bad-spec`, `no-space`, `state`; ImageError
   */
  static restore(home: Home, snapshot: string, options: CloneOptions = {}): Promise<Container> {
    return Container.#clone(home, new SnapshotStore(home).find(snapshot), options);
  }

  static async #clone(home: Home, snapshot: Snapshot, options: CloneOptions): Promise<Container> {
    const created = await createClone(home, snapshot, options);
    return new Container({ home, ...created }, snapshot.machine);
  }

  /**
   * Finds a container by its name, its ID or the beginning of its ID.
   * @throws SandboxError `no-such-container`, `ambiguous`
   */
  static find(home: Home, reference: string): Container {
    return new Container({ home, ...home.containers.find(reference) });
  }

  /** All containers, newest first. @throws SandboxError `state` */
  static list(home: Home): ContainerInfo[] {
    const names = home.containers.names.all();
    return home.containers
      .list()
      .map(({ folder, config, state }) => ({ config, state, name: names.get(folder.id) }))
      .sort((a, b) => (a.config.created < b.config.created ? 1 : -1));
  }

  get id(): string {
    return this.#folder.id;
  }

  get name(): string | undefined {
    return this.home.containers.names.of(this.id);
  }

  get state(): ContainerState {
    return this.#folder.state();
  }

  get info(): ContainerInfo {
    return { config: this.config, state: this.state, name: this.name };
  }

  /** The published ports, with the host ports in use. Empty unless it runs. */
  get ports(): BoundPort[] {
    const { state } = this;
    return isRunning(state) ? eachPort(state.ports ?? []) : [];
  }

  /** Bytes on disk: its writable layer and its log. */
  get diskUsage(): number {
    return diskUsage(this.#folder);
  }

  /** Path of the newest file of its log. */
  get logPath(): string {
    return this.#folder.log;
  }

  /** Names of its private networks. */
  get networks(): string[] {
    return networksOf(this.#folder, this.config);
  }

  /** The container as `docker inspect` describes it. */
  describe(): object {
    return describeContainer(this.#stored);
  }

  /**
   * Starts it in the background. Resolves when its process runs.
   * @throws SandboxError `running`, or the reason why it did not start; with `checkpoint` also
   *   `no-such-snapshot`, `snapshot`, `no-space`
   */
  async start(options: ContainerStartOptions = {}): Promise<void> {
    // Not in the list of parameters, which the declarations show: `supervisor` is internal.
    const { supervisor = new SupervisorProcess(), checkpoint, ...rest } = options;
    using process = supervisor;
    checkSecrets(rest.secrets ?? {});
    if (checkpoint !== undefined) {
      this.#checkFree();
      return await this.#withCopy(checkpoint, (files) =>
        process.start(this.#stored, { ...rest, snapshot: files.machine, layer: files.layer }),
      );
    }
    const snapshot = this.#takeSnapshot();
    try {
      await process.start(this.#stored, { ...rest, snapshot });
    } catch (error) {
      // Of a clone that is not proven another, nothing is left.
      if (snapshot !== undefined) await this.remove({ force: true }).catch(() => {});
      throw error;
    }
  }

  /**
   * Takes it back to where a snapshot of it was taken, with that memory, those processes and that
   * writable disk. It is new as a clone is new, but keeps its name, ID, addresses, log and ports. If it
   * runs, its machine ends once the snapshot is checked and copied, and whoever waits for the container
   * or is attached goes on doing so. If it is stopped or suspended, it is started.
   * @param snapshot the name of one of this container
   * @throws SandboxError `no-such-snapshot`; `snapshot`, `no-space`, `state`, `conflict`: nothing has
   *   changed; the reason that the machine did not run: a running container has ended then, with the
   *   disk that it had
   */
  async rollback(snapshot: string, options: Omit<StartOptions, 'input'> = {}): Promise<void> {
    await this.#withCopy(snapshot, async (files) => {
      if (!this.#folder.isSupervised()) {
        using process = new SupervisorProcess();
        const { machine, layer } = files;
        return await process.start(this.#stored, { ...options, snapshot: machine, layer, rollsBack: true });
      }
      using client = await openRequest(this.#folder, { type: 'rollback', ...files });
      const reply = await client.next();
      if (reply?.type !== 'done') throw new SandboxError('machine-died', 'the container was lost');
    });
  }

  /** @throws SandboxError `running` */
  #checkFree(): void {
    if (!this.#folder.isSupervised()) return;
    throw new SandboxError('running', `container ${this.#folder.shortId} is running already: stop it first`);
  }

  /** Checks a snapshot of it, and calls `act` with its machine and a copy of its disk. */
  async #withCopy(name: string, act: (files: RollbackFiles) => Promise<void>): Promise<void> {
    const store = new SnapshotStore(this.home);
    const snapshot = store.findOf(this.id, name);
    await checkDiskRoom(this.home, snapshot.diskUsage);
    await snapshot.verify();
    using unfinished = await store.begin();
    const hasLayer = await snapshot.copyLayer(unfinished.layer, { replaces: true });
    await act({ machine: snapshot.machine, layer: hasLayer ? unfinished.layer : undefined });
  }

  /** The clone begins once. */
  #takeSnapshot(): string | undefined {
    const snapshot = this.#snapshot;
    this.#snapshot = undefined;
    return snapshot;
  }

  /**
   * Starts it, and supervises it in this process until its end.
   * @param Kind the class, which takes long to load: of all methods this one alone needs it
   * @internal
   */
  supervise(Kind: typeof Supervision, options: SuperviseOptions = {}): Supervision {
    return new Kind(this.#stored, { ...options, snapshot: this.#takeSnapshot() });
  }

  /** Attaches to its output from now on, and to its input. @throws SandboxError `not-running` */
  attach(io: ContainerIo): Promise<Attachment> {
    return attach(this.#folder, io);
  }

  /**
   * Starts another process in it.
   * @throws SandboxError `not-running`, `not-found`, `cannot-invoke`, `unresponsive`, `agent`
   */
  exec(spec: ExecSpec, io: ContainerIo, { killRest = false, ...options }: ExecOptions = {}): Promise<Exec> {
    const onExited = killRest ? () => runTool(this.#folder, ['kill']) : undefined;
    return exec(this.#folder, this.config, spec, io, { ...options, onExited });
  }

  /** Starts another process without streams. @throws SandboxError as `exec` */
  execDetached(spec: ExecSpec): Promise<void> {
    return execDetached(this.#folder, this.config, spec);
  }

  /**
   * Connects to a TCP port of its own loopback addresses, which needs neither a network nor a published
   * port. The stream breaks off with a SandboxError `tool` if nothing listens there. Destroy it to leave.
   * @throws SandboxError `bad-spec`, `not-running`, `unresponsive`, `agent`; `timeout`, or the reason of
   *   `options.signal`
   */
  openPort(port: number, options: CallOptions = {}): Promise<Duplex> {
    return limited(options, (signal) => connectPort(this.#folder, port, signal));
  }

  /**
   * Listens on a unix socket in it. While that is open, no snapshot is taken.
   * @throws SandboxError `not-running`, `unresponsive`, `agent`, `tool`; the reason of `signal`
   * @internal
   */
  listen(socket: GuestSocket, onConnection: (connection: Duplex) => void, signal?: AbortSignal): Promise<Disposable> {
    return listenInGuest(this.#folder, socket, onConnection, signal);
  }

  /** Sends a signal to its first process. @throws SandboxError `not-running`, `bad-spec` */
  async signal(signal: Signal): Promise<void> {
    using client = await openRequest(this.#folder, { type: 'signal', signal: signalNumber(signal) });
    await client.next();
  }

  /**
   * Sends its stop signal, then SIGKILL. Does nothing if it does not run.
   * @throws SandboxError `bad-spec` for a signal that does not exist
   */
  async stop(options: StopOptions = {}): Promise<void> {
    await this.#stop(options);
  }

  /**
   * Stops it if it runs, and starts it again in the background with its writable layer.
   * @throws SandboxError `bad-spec` for a signal that does not exist, or as `start`
   */
  async restart({ timeout, signal, ...options }: StopOptions & StartOptions = {}): Promise<void> {
    await this.#stop({ timeout, signal, keep: true });
    await this.start(options);
  }

  async #stop({ timeout, signal = this.config.stopSignal, keep }: StopOptions & { keep?: true }): Promise<void> {
    const patience = timeout ?? stopTimeoutOf(this.config);
    await stopContainer(this.#folder, { timeout: patience, signal: signalNumber(signal), keep });
  }

  /**
   * Waits for its end. Returns at once if it does not run.
   * @returns its exit code
   */
  wait(): Promise<number> {
    return this.#wait();
  }

  /** @param signal ends the wait, whose result means nothing then */
  async #wait(signal?: AbortSignal): Promise<number> {
    try {
      using client = await openRequest(this.#folder, { type: 'wait' });
      const leave = () => client[Symbol.dispose]();
      signal?.addEventListener('abort', leave, { once: true });
      if (signal?.aborted) leave();
      const reply = await client.next();
      signal?.removeEventListener('abort', leave);
      if (reply?.type === 'exited') return reply.code;
    } catch (error) {
      if (!hasCode(error, 'not-running')) throw error;
    }
    return this.state.exitCode;
  }

  /** Its files. They are accessible whether it runs or not. */
  get files(): ContainerFiles {
    return new ContainerFiles(this.#stored);
  }

  /** Its processes. @throws SandboxError `not-running`, `unresponsive`, `timeout` */
  async processes(options: CallOptions = {}): Promise<ProcessInfo[]> {
    this.#checkRunning();
    return limited(options, (signal) => readProcesses(this.#folder, signal));
  }

  /**
   * Its current use of CPU, memory, disk and network.
   * @throws SandboxError `not-running`, `unresponsive`, `timeout`
   */
  async usage(options: CallOptions = {}): Promise<Usage> {
    this.#checkRunning();
    return limited(options, (signal) => readUsage(this.#folder, this.config, signal));
  }

  /**
   * Makes an image of the current contents of the container. Files that change meanwhile may be
   * inconsistent.
   * @returns the ID of the image
   * @throws SandboxError, ImageError
   */
  commit(options: CommitSpec = {}): Promise<string> {
    const { argv, spec } = this.config;
    return this.files.together(async () => {
      const layer = new PassThrough();
      const written = this.files.layer(layer).then(
        () => layer.end(),
        (error) => layer.destroy(error),
      );
      const [id] = await Promise.all([
        this.home.images.commit(this.config.image, layer as AsyncIterable<Buffer>, {
          createdBy: argv.join(' '),
          ...options,
        }),
        written,
      ]);
      this.home.events.record(this.id, 'commit', { image: spec.image });
      return id;
    });
  }

  /** Stops the processors of its machine. @throws SandboxError `not-running` */
  pause(): Promise<void> {
    return this.#pause(true);
  }

  /**
   * Resumes the processors of its machine.
   * @throws SandboxError `not-running` if it is not paused
   */
  unpause(): Promise<void> {
    return this.#pause(false);
  }

  async #pause(paused: boolean): Promise<void> {
    using client = await openRequest(this.#folder, { type: 'pause', paused });
    await client.next();
  }

  /**
   * Saves its machine to the disk, and ends it. Nothing of it runs until `resume`.
   * @throws SandboxError `not-running`; `conflict` if it runs in the foreground or without KVM;
   *   `snapshot`, `no-space`, `state`, `unresponsive`: it runs on; `machine-died`: it is lost
   */
  async suspend(): Promise<void> {
    using client = await openRequest(this.#folder, { type: 'suspend' });
    try {
      await client.next();
    } catch (error) {
      if (hasCode(error, 'suspended')) return;
      throw error;
    }
    // The connection ended without an answer: its supervisor was killed.
    if (this.state.status !== 'suspended') throw new SandboxError('machine-died', 'the container was lost');
  }

  /**
   * Continues it in the background, where `suspend` left it.
   * @throws SandboxError `conflict` if it is not suspended; `snapshot` if its machine cannot continue
   *   here: it stays suspended
   */
  async resume(
    options: Omit<ContainerStartOptions, 'resumes' | 'snapshot' | 'layer' | 'rollsBack' | 'checkpoint'> = {},
  ): Promise<void> {
    await this.start({ ...options, resumes: true });
  }

  /**
   * Makes a snapshot of it, with its memory, processes and writable disk. It runs on.
   * @throws SandboxError `not-running`; `conflict` if the name is taken, or it runs without KVM;
   *   `bad-spec`, `damaged`, `snapshot`, `no-space`, `state`, `unresponsive`; `machine-died`: it is lost
   */
  async snapshot(name: string): Promise<Snapshot> {
    checkSnapshotName(name);
    const store = new SnapshotStore(this.home);
    if (store.has(name)) throw new SandboxError('conflict', `the snapshot ${name} exists already`);
    using unfinished = await store.begin();
    await this.#copyTo(unfinished);
    await unfinished.keep(name, this.config.image);
    return store.find(name);
  }

  /**
   * Starts clones of it as it is now, in the background. It runs on. A clone is removed at its end if
   * the container is.
   * @returns one result for each clone
   * @throws SandboxError as `snapshot`
   */
  async fork(count = 1, options: StartOptions = {}): Promise<PromiseSettledResult<Container>[]> {
    const { autoRemove, restart } = this.config.spec;
    return this.cloneEach(count, defined({ autoRemove, restart }), async (clone) => {
      await clone.start(options);
      return clone;
    });
  }

  /**
   * Makes clones of it as it is now, and starts a few at a time by `start`. The memory that they share
   * is gone from the disk with the last of them.
   * @internal
   */
  async cloneEach<T>(
    count: number,
    options: CloneOptions,
    start: (clone: Container) => Promise<T>,
  ): Promise<PromiseSettledResult<T>[]> {
    using unfinished = await new SnapshotStore(this.home).begin();
    const snapshot = await this.#copyTo(unfinished);
    // The snapshot is there until the last clone has started.
    return await eachOf(count, availableParallelism(), async () =>
      start(await Container.#clone(this.home, snapshot, options)),
    );
  }

  async #copyTo(unfinished: UnfinishedSnapshot): Promise<Snapshot> {
    const { machine, layer } = unfinished;
    using client = await openRequest(this.#folder, { type: 'snapshot', machine, layer });
    const reply = await client.next();
    if (reply?.type !== 'done') throw new SandboxError('machine-died', 'the container was lost');
    return await unfinished.finish(
      this.name ?? this.id,
      this.config,
      Object.keys(membershipsOf(this.#folder, this.config)),
    );
  }

  /** Its output, oldest first. With `follow`, until the container ends or `signal` is aborted. */
  logs({
    follow,
    signal,
    ...options
  }: Omit<ReadLogOptions, 'follow'> & { follow?: boolean; signal?: AbortSignal } = {}): AsyncGenerator<LogEntry> {
    const end = follow && this.#folder.isSupervised() ? this.#wait(signal) : undefined;
    // It may fail before its reader has come to the end of what there is.
    end?.catch(() => {});
    return readLog(this.#folder.log, { ...options, follow: end });
  }

  /**
   * Connects it to a private network, at once if it runs.
   * @param aliases further names of the container in this network
   * @throws SandboxError `bad-spec`, `no-such-network`, `conflict` if it is in it already, or its
   *   network mode excludes private networks
   */
  connect(network: string, aliases: readonly string[] = []): Promise<void> {
    return connectContainer(this.#stored, network, aliases);
  }

  /**
   * Disconnects it from a private network.
   * @throws SandboxError `no-such-network`, `conflict` if it is not in it
   */
  disconnect(network: string): Promise<void> {
    return disconnectContainer(this.#stored, network);
  }

  /** Gives it another name. @throws SandboxError `conflict`, `bad-spec` */
  rename(name: string): Promise<void> {
    const { containers, events } = this.home;
    return containers.withLock(() => {
      containers.names.rename(this.id, name);
      events.record(this.id, 'rename', { name });
    });
  }

  /**
   * Removes it with its files. `force` kills it first if it runs; `volumes` removes its anonymous
   * volumes too.
   * @throws SandboxError `running`
   */
  async remove({ force = false, volumes = false } = {}): Promise<void> {
    const { containers, volumes: allVolumes, events, images } = this.home;
    if (force) await killContainer(this.#folder);
    using lock = this.#stored.lock ?? (await this.#folder.waitToHold());
    // One with `--rm` has removed itself; another process may have removed it in the meantime.
    if (this.#folder.config() === undefined) return;
    if (lock === undefined) {
      throw new SandboxError('running', `container ${this.#folder.shortId} is running: stop it first, or use --force`);
    }
    await this.#folder.removeCgroups();
    await containers.withLock(() => containers.names.release(this.id));
    this.#folder.remove(this.home.runtime);
    const { image, mounts, autoRemove } = this.config.spec;
    if (volumes || autoRemove) await allVolumes.removeAnonymous(mounts);
    events.record(this.id, 'destroy', { image });
    await images.release(this.id);
  }

  #checkRunning(): void {
    const { status } = this.state;
    if (status === 'paused') {
      throw new SandboxError('not-running', `container ${this.#folder.shortId} is paused: unpause it first`);
    }
    if (!isRunning(this.state)) {
      throw new SandboxError('not-running', `container ${this.#folder.shortId} is not running`);
    }
  }
}

/** Calls `act` so many times, at most `atOnce` at a time. One that fails does not stop the others. */
async function eachOf<T>(count: number, atOnce: number, act: () => Promise<T>): Promise<PromiseSettledResult<T>[]> {
  const results: PromiseSettledResult<T>[] = [];
  let begun = 0;
  const work = async () => {
    while (begun++ < count) results.push(...(await Promise.allSettled([act()])));
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, work));
  return results;
}
