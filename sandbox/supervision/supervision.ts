// Supervises a container: holds its lock, serves its control socket, and runs it again as its
// restart policy says. `tsvm run` in the foreground does it itself; otherwise a process of its own
// does.
import { createReadStream, existsSync, openSync, renameSync, rmSync } from 'node:fs';
import { PassThrough, type Readable } from 'node:stream';
import { hasCode, messageOf } from '../../errors/index.js';
import type { Image } from '../../images/index.js';
import type { MachineSpec } from '../../vmm/machine.js';
import type { ContainerIo } from '../agent/process-io.js';
import { SupervisorCgroup } from '../cgroup/supervisor-cgroup.js';
import { type Deferred, defer } from '../deferred.js';
import type { EgressProcess } from '../egress/egress-process.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import {
  bootId,
  type ContainerConfig,
  type ContainerState,
  hasLayerDisk,
  isRunning,
} from '../home/container-record.js';
import type { Home } from '../home/home.js';
import type { FileLock } from '../home/lock.js';
import { LogWriter } from '../home/log-file.js';
import { SocketFolder } from '../home/socket-folder.js';
import { type Log, SILENT } from '../log.js';
import type { MachineClient } from '../machine/machine-client.js';
import { removeSavedMachine, sweepSavedMachine, UnfinishedMachine } from '../machine/saved-machine.js';
import { ContainerRun } from '../run/container-run.js';
import type { ExitStatus, Fallback, Layer, SavedSource } from '../run/run-options.js';
import type { Trace } from '../run/trace.js';
import type { RestartPolicy } from '../spec/container-spec.js';
import type { Secrets } from '../spec/secrets.js';
import { type ControlReply, type RollbackFiles, type SnapshotFiles, toReply } from './control-protocol.js';
import { ControlServer } from './control-server.js';
import { HealthMonitor } from './health-monitor.js';
import { STARTING } from './health-state.js';
import { LogRate, OutputFanOut } from './output-fan-out.js';
import { PauseGuard } from './pause-guard.js';
import { StateRecorder } from './state-recorder.js';

const SIGKILL = 9;
/** Milliseconds before the first restart. Doubled for each further one, up to LONGEST_DELAY. */
const FIRST_DELAY = 100;
const LONGEST_DELAY = 60_000;
/** Milliseconds after which a run counts as stable: the next restart has the first delay again. */
const SETTLED = 10_000;
/** Docker's exit codes for a container that was lost, and for one that was killed. */
const LOST = 255;
const KILLED = 128 + SIGKILL;

export interface SuperviseOptions {
  /** The caller's streams. Undefined in the background. */
  io?: ContainerIo | undefined;
  /** A machine process that was started in advance, for the first run. */
  machine?: MachineClient | undefined;
  log?: Log | undefined;
  trace?: Trace | undefined;
  /** Called if the accelerator is `auto` and the machine is not on KVM. */
  onFallback?: ((fallback: Fallback) => void) | undefined;
  /**
   * Called with how many CPUs are emulated, if several are: one may run what another has changed.
   */
  onEmulatedCpus?: ((cpus: number) => void) | undefined;
  /** Called with the reason if an optional network failed to come up. */
  onNoNetwork?: ((reason: string) => void) | undefined;
  /** Level of the machine process's log. Default `warn`; `silent` without the caller's streams. */
  machineLog?: MachineSpec['logLevel'] | undefined;
  /**
   * If true, no process of the container runs: the guest only gives access to its files. The state
   * is not changed.
   */
  filesOnly?: boolean | undefined;
  /**
   * If true, this process does nothing else: it gets a cgroup of its own once the container's
   * process runs.
   */
  ownCgroup?: boolean | undefined;
  /** If true, the container is suspended, and continues. */
  resumes?: boolean | undefined;
  /** Path of the saved machine of a snapshot. The first run begins as its clone. */
  snapshot?: string | undefined;
  /** With `snapshot`: path of a disk that becomes the writable layer's once the process runs. */
  layer?: string | undefined;
  /** With `snapshot`: the container may be suspended. What was saved is lost once the process runs. */
  rollsBack?: boolean | undefined;
  /** Path of a file that the process reads as its stdin. Undefined: clients attach. */
  input?: string | undefined;
  /** Of each run. */
  secrets?: Secrets | undefined;
  /** Called when the control socket is served. The first run waits for the returned promise. */
  onListening?: (() => Promise<void> | void) | undefined;
}

export interface Supervised {
  readonly home: Home;
  readonly folder: ContainerFolder;
  readonly config: ContainerConfig;
  /** The container's image, if it is already resolved. */
  readonly image?: Image | undefined;
  /** The supervisor's lock, if this process holds it already. */
  readonly lock?: FileLock | undefined;
}

/** What a run begins with besides the container's record. */
interface Beginning {
  machine?: MachineClient | undefined;
  saved?: SavedSource | undefined;
  /** Path of a disk that becomes the writable layer's once the process runs. */
  layer?: string | undefined;
  event: 'start' | 'resume' | 'rollback';
  /** The one of a container that ran. */
  rollback?: Rollback | undefined;
}

/** A running container's way to a snapshot, until that runs. */
interface Rollback {
  files: RollbackFiles;
  /** Resolves once it runs. */
  done: Deferred<void>;
}

/** Supervises a container from now to its end. */
export class Supervision {
  /** Resolves when the process of the first run has started. Never rejects: see `exit`. */
  readonly started: Promise<void>;
  /** The status of the last run. Rejects if the process could not be started or was lost. */
  readonly exit: Promise<ExitStatus>;
  readonly #home: Home;
  readonly #folder: ContainerFolder;
  readonly #config: ContainerConfig;
  readonly #image: Image | undefined;
  readonly #options: SuperviseOptions;
  readonly #log: Log;
  readonly #started = defer<void>();
  readonly #stdin = new PassThrough();
  readonly #recorder: StateRecorder;
  #run: ContainerRun | undefined;
  #guard: PauseGuard | undefined;
  /** Of the current run. */
  #monitor: HealthMonitor | undefined;
  #stopped = false;
  #isSaving = false;
  /** True once a caller waits for the end: a signal alone may not end the container. */
  #isStopping = false;
  #rollback: Rollback | undefined;
  #everStarted = false;
  #aborted: Error | undefined;
  #cgroup: Promise<SupervisorCgroup | undefined> | undefined;
  #wake = () => {};
  #egress: EgressProcess | undefined;

  constructor({ home, folder, config, image, lock }: Supervised, options: SuperviseOptions = {}) {
    this.#home = home;
    this.#folder = folder;
    this.#config = config;
    this.#image = image;
    this.#options = options;
    this.#log = options.log ?? SILENT;
    this.#recorder = new StateRecorder(home, folder, config, { isSilent: options.filesOnly, log: this.#log });
    this.started = this.#started.promise;
    this.exit = this.#supervise(lock);
  }

  /** Number of output chunks of the current run. */
  get outputChunks(): number {
    return this.#run?.outputChunks ?? 0;
  }

  signal(signal: number): void {
    // As in Docker, a container that is stopped on purpose is not restarted.
    if (signal === SIGKILL || signal === this.#config.stopSignal) this.#stopped = true;
    this.#recorder.record('kill', { signal: String(signal) });
    // As in Docker, a paused container is resumed to be stopped.
    if (this.#stopped && this.#recorder.state.status === 'paused') this.pause(false);
    // A guest that stands still does not keep the container alive.
    if (signal === SIGKILL) this.#run?.kill();
    else this.#run?.signal(signal);
  }

  resize(size: { columns: number; rows: number }): void {
    this.#run?.resize(size);
  }

  /** Kills the container. `exit` rejects with `error`. */
  abort(error: Error): void {
    this.#stopped = true;
    this.#isStopping = true;
    this.#aborted = error;
    this.#run?.abort(error);
    this.#wake();
  }

  /**
   * Stops or resumes the machine's processors and clock.
   * @throws SandboxError `not-running`, `conflict` on User-Mode Linux and while its machine is saved
   */
  pause(paused: boolean): void {
    const groups = this.#run?.processGroups ?? [];
    const from = paused ? 'running' : 'paused';
    if (groups.length === 0 || this.#recorder.state.status !== from) {
      throw new SandboxError('not-running', `container ${this.#folder.shortId} is not ${from}`);
    }
    // The signal that stops a process would reach the guest's programs.
    if (this.#run?.accelerator === 'uml') {
      throw new SandboxError(
        'conflict',
        `container ${this.#folder.shortId} runs on uml, which cannot be paused: kvm and tcg can`,
      );
    }
    // A machine process that stands still would never say that it is saved.
    if (paused && this.#isSaving) throw this.#saving();
    if (paused) this.#guard = new PauseGuard(groups, this.#log);
    for (const group of groups) process.kill(-group, paused ? 'SIGSTOP' : 'SIGCONT');
    if (!paused) this.#guard?.cancel();
    this.#run?.hold(paused);
    this.#monitor?.hold(paused);
    this.#recorder.write({ status: paused ? 'paused' : 'running' });
    this.#recorder.record(paused ? 'pause' : 'unpause');
  }

  /**
   * Saves the machine to the disk, and ends it. If that fails the container runs on.
   * @throws SandboxError `not-running`, `conflict`, `snapshot`, `unresponsive`, `no-space`, `state`
   */
  async suspend(): Promise<void> {
    if (this.#options.io !== undefined) {
      const why = 'runs in the foreground: only one with -d is suspended';
      throw new SandboxError('conflict', `container ${this.#folder.shortId} ${why}`);
    }
    // Its next proxy would have another CA than the one that its memory trusts.
    if (this.#hasPlaceholders) {
      throw new SandboxError(
        'conflict',
        `container ${this.#folder.shortId} has placeholders of secrets: it is not suspended`,
      );
    }
    await this.#save('suspended', async (run) => {
      if (this.#config.spec.autoRemove) await this.#holdImage();
      using unfinished = new UnfinishedMachine(this.#folder.suspended);
      await run.suspend(unfinished);
      // The end of the run says nothing else from now on.
      this.#stopped = true;
      this.#recorder.suspended();
    });
  }

  /**
   * A machine that runs locks its image. A container with `--rm` has no other hold on it, until it is removed.
   * @throws ImageError
   */
  async #holdImage(): Promise<void> {
    try {
      await this.#home.images.hold(this.#folder.id, this.#config.image);
    } catch (error) {
      // Nothing removes images of a home that cannot be written.
      if (!hasCode(error, 'no-permission')) throw error;
    }
  }

  /**
   * Saves the machine and a copy of its writable disk. The container runs on.
   * @throws SandboxError `not-running`, `conflict`, `snapshot`, `unresponsive`, `no-space`, `state`
   */
  async snapshot({ machine, layer }: SnapshotFiles): Promise<void> {
    await this.#save('copied', async (run) => {
      using unfinished = new UnfinishedMachine(machine);
      await run.snapshot(unfinished, layer);
      this.#recorder.record('snapshot');
    });
  }

  /**
   * Ends the machine with all that runs in it, and continues a saved one in its place. All of that is
   * checked before: if it cannot continue here, the container runs on. Whoever waits for the end of the
   * container, or is attached, goes on doing so.
   * @throws SandboxError `not-running`, `conflict`, `snapshot`: it runs on; the reason that the saved
   *   machine did not run: the container has ended, with its disk as it was
   */
  async rollback(files: RollbackFiles): Promise<void> {
    await this.#save(
      'rolled back',
      async (run) => {
        await run.verify(files.machine);
        const { shortId } = this.#folder;
        if (this.#isStopping) throw new SandboxError('conflict', `container ${shortId} is being stopped`);
        if (this.#run !== run) throw new SandboxError('not-running', `container ${shortId} has ended`);
        // Whoever made it was killed, and the next snapshot has removed what it left.
        if (files.layer !== undefined && !existsSync(files.layer)) {
          throw new SandboxError('state', `the disk for container ${shortId} is gone: roll back again`);
        }
        if (this.#recorder.state.status === 'paused') this.pause(false);
        const done = defer<void>();
        this.#rollback = { files, done };
        // A signal that was sent before is the business of the machine that ends.
        this.#stopped = false;
        run.kill();
        await done.promise;
      },
      isRunning,
    );
  }

  /**
   * @param what is done to the container, for errors
   * @param allows returns true if it may be done in that state
   */
  async #save(
    what: string,
    act: (run: ContainerRun) => Promise<void>,
    allows: (state: ContainerState) => boolean = ({ status }) => status === 'running',
  ): Promise<void> {
    const run = this.#run;
    const { shortId } = this.#folder;
    if (run === undefined || !allows(this.#recorder.state) || this.#options.filesOnly) {
      throw this.#notRunning();
    }
    if (run.accelerator !== 'kvm') {
      const where = run.accelerator === 'uml' ? 'on uml' : 'on an emulated CPU (tcg)';
      throw new SandboxError('conflict', `container ${shortId} runs ${where}: only a machine on KVM can be ${what}`);
    }
    if (this.#isSaving) throw this.#saving();
    this.#isSaving = true;
    try {
      // A process of a check would be saved too, without anyone who waits for it.
      if (this.#monitor === undefined) await act(run);
      else await this.#monitor.without(() => act(run));
    } finally {
      this.#isSaving = false;
    }
  }

  #saving(): SandboxError {
    return new SandboxError('conflict', `container ${this.#folder.shortId} is being suspended, copied or rolled back`);
  }

  #notRunning(): SandboxError {
    const isPaused = this.#recorder.state.status === 'paused';
    const what = isPaused ? 'is paused: unpause it first' : 'is not running';
    return new SandboxError('not-running', `container ${this.#folder.shortId} ${what}`);
  }

  #savedSource(): SavedSource | undefined {
    const { resumes, snapshot } = this.#options;
    if (resumes) return { path: this.#folder.suspended, isClone: false };
    return snapshot === undefined ? undefined : { path: snapshot, isClone: true };
  }

  /**
   * Sends `signal`, and SIGKILL after `timeout` milliseconds. The container is not restarted. With
   * `keep`, it is not removed either.
   */
  stop(signal: number, timeout: number, keep = false): void {
    this.#stopped = true;
    this.#isStopping = true;
    if (keep) this.#recorder.keep();
    this.#wake();
    const run = this.#run;
    if (!this.#everStarted) {
      this.abort(new SandboxError('aborted', 'stopped before it was started'));
      return;
    }
    if (run === undefined) return;
    if (!isRunning(this.#recorder.state)) {
      run.abort(new SandboxError('aborted', 'stopped before it was started'));
      return;
    }
    if (this.#recorder.state.status === 'paused') this.pause(false);
    if (timeout === 0 || run.isSuspect) {
      run.kill();
      return;
    }
    run.signal(signal);
    const timer = setTimeout(() => run.kill(), Math.min(timeout, 2 ** 31 - 1));
    run.exit.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    );
  }

  async #supervise(held: FileLock | undefined): Promise<ExitStatus> {
    const { machine } = this.#options;
    const lock = held ?? (await this.#folder.lock());
    if (lock === undefined) {
      machine?.[Symbol.dispose]();
      const { shortId } = this.#folder;
      // Another process has removed it.
      if (this.#folder.config() === undefined) {
        throw new SandboxError('no-such-container', `no such container: ${shortId}`);
      }
      throw new SandboxError('running', `container ${shortId} is running already`);
    }
    if (this.#folder.isSuspended() !== (this.#options.resumes === true) && !this.#options.rollsBack) {
      machine?.[Symbol.dispose]();
      lock[Symbol.dispose]();
      const why = this.#options.resumes ? 'is not suspended' : 'is suspended: resume or remove it first';
      throw new SandboxError('conflict', `container ${this.#folder.shortId} ${why}`);
    }
    sweepSavedMachine(this.#folder.suspended);
    let server: ControlServer | undefined;
    let reply: ControlReply | undefined;
    try {
      using sockets = await SocketFolder.make(this.#folder.shortId, this.#home.openRuntime());
      const log = this.#openLog();
      const { io } = this.#options;
      // The caller in the foreground reads at its own pace.
      const rate = log === undefined || io !== undefined ? undefined : new LogRate();
      const stdout = new OutputFanOut('stdout', { log, rate, primary: io?.stdout });
      const stderr = new OutputFanOut('stderr', { log, rate, primary: io?.stderr });
      server = await ControlServer.listen(sockets.control, this.#controlled(stdout, stderr));
      await sockets.publish();
      this.#dropLostLayer();
      this.#recorder.write({
        supervisorPid: process.pid,
        bootId: bootId(),
        sockets: sockets.path,
        filesOnly: this.#options.filesOnly ? true : undefined,
        error: undefined,
      });
      await this.#options.onListening?.();
      using _egress = await this.#startEgress();
      try {
        return await this.#runRepeatedly(sockets, { ...io, stdin: this.#input(), stdout, stderr });
      } catch (error) {
        if (!this.#everStarted || hasCode(error, 'suspended')) reply = toReply(error);
        throw error;
      } finally {
        const { exitCode, oomKilled } = this.#recorder.state;
        reply ??= { type: 'exited', code: exitCode, oomKilled };
        log?.[Symbol.dispose]();
        stdout.endAttached();
        stderr.endAttached();
      }
    } catch (error) {
      machine?.[Symbol.dispose]();
      throw error;
    } finally {
      // Clients are told of the end after the lock is released, so that they find the container
      // free.
      server?.close();
      await this.#leaveCgroup();
      await this.#recorder.close();
      lock[Symbol.dispose]();
      server?.end(reply ?? { type: 'exited', code: LOST });
    }
  }

  get #hasPlaceholders(): boolean {
    return (this.#options.secrets?.placeholders ?? []).length > 0;
  }

  /** Starts the proxy of placeholders, if there are any. @throws SandboxError `state` */
  async #startEgress(): Promise<EgressProcess | undefined> {
    const { secrets, filesOnly } = this.#options;
    if (secrets?.placeholders === undefined || !this.#hasPlaceholders || filesOnly) return undefined;
    const { EgressProcess } = await import('../egress/egress-process.js');
    this.#egress = await EgressProcess.start(secrets);
    return this.#egress;
  }

  /** Runs the container again and again, until the restart policy ends it. */
  async #runRepeatedly(sockets: SocketFolder, io: ContainerIo): Promise<ExitStatus> {
    const { spec } = this.#config;
    let delay = FIRST_DELAY;
    let beginning = this.#firstBeginning();
    for (let count = 0; ; ) {
      const begin = performance.now();
      const end = await this.#runOnce(beginning, sockets, io);
      if (performance.now() - begin > SETTLED) delay = FIRST_DELAY;
      const next = this.#rolledBack(beginning, end);
      beginning = next ?? { event: 'start' };
      if (next !== undefined) continue;
      const failed = end instanceof Error || end.code !== 0;
      if (this.#stopped || !this.#everStarted || !restarts(spec.restart, failed, count)) {
        if (end instanceof Error) throw end;
        return end;
      }
      count++;
      this.#recorder.write({ status: 'restarting', restartCount: count });
      await this.#sleep(delay);
      delay = Math.min(delay * 2, LONGEST_DELAY);
      if (this.#stopped) {
        this.#recorder.write({ status: 'exited' });
        if (this.#aborted !== undefined) throw this.#aborted;
        if (end instanceof Error) throw end;
        return end;
      }
    }
  }

  #firstBeginning(): Beginning {
    const { machine, layer, resumes, rollsBack } = this.#options;
    const event = rollsBack ? 'rollback' : resumes ? 'resume' : 'start';
    return { machine, saved: this.#savedSource(), layer, event };
  }

  /** What the next run begins with if the last one ended for a rollback. */
  #rolledBack(last: Beginning, end: ExitStatus | Error): Beginning | undefined {
    const rollback = this.#rollback;
    if (rollback === undefined) return undefined;
    const { machine, layer } = rollback.files;
    const hasFailed = last.rollback === rollback;
    if (!hasFailed && !this.#stopped) {
      this.#recorder.write({ status: 'restarting' });
      return { saved: { path: machine, isClone: true }, layer, event: 'rollback', rollback };
    }
    this.#rollback = undefined;
    const stopped = new SandboxError('aborted', 'stopped before it was rolled back');
    rollback.done.reject(hasFailed && end instanceof Error && !hasCode(end, 'aborted') ? end : stopped);
    return undefined;
  }

  async #runOnce(beginning: Beginning, sockets: SocketFolder, io: ContainerIo): Promise<ExitStatus | Error> {
    const { spec } = this.#config;
    const home = this.#home;
    const { trace, machineLog, onFallback, onEmulatedCpus, onNoNetwork } = this.#options;
    try {
      const given = beginning.layer;
      const layer = hasLayerDisk(this.#config)
        ? { path: given ?? this.#folder.layer, kept: this.#keepsLayer() }
        : undefined;
      const run = new ContainerRun(this.#config, io, {
        image: this.#image ?? (await home.images.resolve(this.#config.image)),
        folder: sockets,
        layer,
        saved: beginning.saved,
        home,
        machine: beginning.machine,
        log: this.#log,
        trace,
        noCommand: this.#options.filesOnly || spec.noCommand,
        secrets: this.#egress?.trusted(this.#options.secrets ?? {}, spec.env) ?? this.#options.secrets,
        egress: this.#egress,
        online: !this.#options.filesOnly,
        machineLog: machineLog ?? (this.#options.io === undefined ? 'silent' : undefined),
        onFallback,
        onEmulatedCpus,
        onNoNetwork,
        networks: this.#options.filesOnly ? undefined : home.networks.ofContainer(this.#folder, this.#config),
        onCgroup: (path) => this.#recorder.write({ cgroup: path }),
        onSuspect: (suspect) => this.#recorder.write({ unresponsive: suspect ? true : undefined }),
        onRefusal: (refusal) => this.#recorder.refused(refusal),
      });
      this.#run = run;
      if (this.#isStopping) run.abort(this.#aborted ?? new SandboxError('aborted', 'stopped before it was started'));
      run.started.then(() => {
        this.#everStarted = true;
        if (!this.#takeFiles(beginning, layer)) return;
        this.#bound().then(this.#started.resolve, (error) => this.abort(asError(error)));
        if (this.#options.filesOnly) return;
        const { event, rollback } = beginning;
        this.#recorder.record(event);
        const { health: check } = this.#config;
        const before: Partial<ContainerState> = event === 'resume' ? this.#recorder.state : {};
        this.#recorder.write({
          status: 'running',
          ...(event === 'resume' ? {} : { startedAt: new Date().toISOString() }),
          finishedAt: undefined,
          exitCode: 0,
          oomKilled: false,
          pid: run.pid,
          machinePid: run.machinePid,
          companionPid: run.companionPid,
          accelerator: run.accelerator,
          acceleratorReason: run.acceleratorReason,
          jail: run.jail,
          address: run.address,
          ports: run.ports,
          health: check && (before.health ?? STARTING),
        });
        this.#monitor = this.#monitorOf(run, before);
        rollback?.done.resolve();
        this.#rollback = undefined;
        home.removeStale().catch((error) => this.#log.warn(messageOf(error)));
      });
      const status = await run.exit;
      if (this.#options.filesOnly) return status;
      this.#recorder.ended({ exitCode: status.code, oomKilled: status.oomKilled });
      return status;
    } catch (error) {
      if (this.#options.filesOnly || hasCode(error, 'suspended')) return asError(error);
      const started = isRunning(this.#recorder.state);
      const message = messageOf(error);
      const exitCode = started ? (this.#stopped ? KILLED : LOST) : neverStarted(error);
      if (started) this.#recorder.ended({ exitCode, error: message });
      // One that is stopped on its way to a snapshot has ended as its machine before has.
      else if (beginning.rollback === undefined || !hasCode(error, 'aborted')) {
        this.#recorder.write({ exitCode, error: message });
      }
      return asError(error);
    } finally {
      this.#run = undefined;
      this.#monitor?.[Symbol.dispose]();
      this.#monitor = undefined;
      this.#guard?.release();
    }
  }

  /**
   * Checks the health of the container, if it has a check.
   * @param before of a container that continues
   */
  #monitorOf(run: ContainerRun, { health, startedAt }: Partial<ContainerState>): HealthMonitor | undefined {
    const { health: check } = this.#config;
    if (check === undefined) return undefined;
    return new HealthMonitor(run, this.#config, {
      check,
      health: health ?? STARTING,
      age: startedAt === undefined ? 0 : Math.max(0, Date.now() - Date.parse(startedAt)),
      onHealth: (health) => this.#recorder.checked(health),
    });
  }

  /** Bounds what a guest can make this process take. @throws SandboxError `cgroup` */
  async #bound(): Promise<void> {
    if (!this.#options.ownCgroup) return;
    const options = {
      parent: this.#config.spec.cgroupParent,
      log: this.#log,
      onPath: (path: string | undefined) => this.#recorder.write({ supervisorCgroup: path }),
    };
    const proxy = this.#egress?.pid;
    this.#cgroup ??= SupervisorCgroup.enter(this.#folder.shortId, options, proxy === undefined ? [] : [proxy]);
    await this.#cgroup;
  }

  async #leaveCgroup(): Promise<void> {
    const cgroup = await this.#cgroup?.catch(() => undefined);
    await cgroup?.leave().catch((error) => this.#log.warn(messageOf(error)));
  }

  /** A container with `--rm` is gone after a crash, unless it was not yet started. */
  #keepsLayer(): boolean {
    return !this.#config.spec.autoRemove || this.#options.filesOnly === true;
  }

  /**
   * Lets a disk take the place of the one before. Returns false, and ends the run, if it cannot.
   * @param layer what the machine has
   */
  #takeFiles({ layer: given, event }: Beginning, layer: Layer | undefined): boolean {
    try {
      // Before the disk: saved memory must not be there beside another one.
      if (event === 'rollback' && this.#folder.isSuspended()) removeSavedMachine(this.#folder.suspended);
      if (given === undefined || layer === undefined) return true;
      renameSync(layer.path, this.#folder.layer);
      layer.path = this.#folder.layer;
      return true;
    } catch (cause) {
      this.abort(new SandboxError('state', `cannot replace the disk: ${messageOf(cause)}`, { cause }));
      return false;
    }
  }

  /** A layer that is not kept was never written out if the host went down under the container. */
  #dropLostLayer(): void {
    const { startedAt, bootId: boot } = this.#recorder.state;
    // That of a suspended container was written out.
    if (this.#keepsLayer() || this.#folder.isSuspended() || startedAt === undefined || boot === bootId()) return;
    rmSync(this.#folder.layer, { force: true });
  }

  /** A container in the foreground with `--rm` has no log. */
  #openLog(): LogWriter | undefined {
    const { spec } = this.#config;
    if (this.#options.filesOnly || (this.#options.io !== undefined && spec.autoRemove)) return undefined;
    return new LogWriter(this.#folder.log, spec.logs);
  }

  #input(): Readable | undefined {
    if (!this.#config.spec.stdin || this.#options.filesOnly) return undefined;
    const { io, input } = this.#options;
    if (input !== undefined) return this.#openInput(input);
    return io === undefined ? this.#stdin : io.stdin;
  }

  /** The file is opened at once. @throws SandboxError `no-such-file` */
  #openInput(path: string): Readable {
    try {
      return createReadStream(path, { fd: openSync(path, 'r') });
    } catch (cause) {
      throw new SandboxError('no-such-file', `the input of the container cannot be read: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  #controlled(stdout: OutputFanOut, stderr: OutputFanOut) {
    const { spec } = this.#config;
    const attachable = spec.stdin && this.#options.io === undefined && this.#options.input === undefined;
    return {
      terminal: spec.terminal === true,
      stdout,
      stderr,
      stdin: attachable ? this.#stdin : undefined,
      run: () => this.#run,
      running: () => {
        const { state } = this.#recorder;
        const runs = this.#options.filesOnly || isRunning(state);
        if (this.#run === undefined || !runs || state.status === 'paused') throw this.#notRunning();
        return this.#run;
      },
      signal: (signal: number) => this.signal(signal),
      stop: (signal: number, timeout: number, keep?: boolean) => this.stop(signal, timeout, keep),
      pause: (paused: boolean) => this.pause(paused),
      suspend: () => this.suspend(),
      snapshot: (files: SnapshotFiles) => this.snapshot(files),
      rollback: (files: RollbackFiles) => this.rollback(files),
    };
  }

  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stopped) this.#wake();
    });
  }
}

/** Docker's exit codes for a process that could not be started. */
function neverStarted(error: unknown): number {
  if (hasCode(error, 'not-found')) return 127;
  return hasCode(error, 'cannot-invoke') ? 126 : 125;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(messageOf(thrown));
}

function restarts(policy: RestartPolicy | undefined, failed: boolean, count: number): boolean {
  switch (policy?.name) {
    case 'always':
    case 'unless-stopped':
      return true;
    case 'on-failure':
      return failed && count < (policy.maximumRetryCount || Number.POSITIVE_INFINITY);
    default:
      return false;
  }
}
