// The client of a machine process: starts it, talks to it over its control socket (JSON lines,
// vmm/machine.ts), ends it.
import { messageOf } from '../../errors/index.js';
import { hasLauncher } from '../../jail/launcher.js';
import {
  type LaterShare,
  MachineError,
  type MachineEvent,
  type MachineRequest,
  type MachineStatistics,
  type PeerNetwork,
  type PublishedPorts,
  type Refusal,
  shareName,
} from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { earlyJailMode, type JailMode } from '../jail-mode.js';
import { type JailReport, whatIsMissing } from '../jail-report.js';
import { MACHINE_PROGRAM } from '../programs.js';
import { ConsoleText } from './console-text.js';
import { type JailNeeds, NO_NEEDS } from './jail.js';
import { MachineEvents } from './machine-events.js';
import { MachineFiles } from './machine-files.js';
import { MachineProcess } from './machine-process.js';
import type { MachineOutside } from './outside.js';
import { processorWait } from './processor-wait.js';
import { companionFilter } from './system-calls.js';

/** Bytes of stderr that are kept for the error message of a death. */
const KEPT_STDERR = 4096;
/** Milliseconds from the end of the control socket to that of the process. */
const EXIT_TIME = 20_000;

/** The network of a machine, with the published ports that lead to it; or why it has none. */
export type MachineNetwork = { up: true; ports: readonly PublishedPorts[] } | { up: false; reason: string };

type Event<T extends MachineEvent['type']> = Extract<MachineEvent, { type: T }>;

/** The end of a machine. `error` is the reason, unless the machine was asked to stop. */
export interface MachineEnd {
  statistics?: MachineStatistics;
  error: Error | undefined;
}

interface Options {
  /** Path of the machine's program. */
  program?: string;
  /** The machine is to probe KVM, whatever an earlier probe found. */
  probes?: boolean;
  /** Default: what the environment says. */
  jail?: JailMode;
  /** A guess: the machine has shares. If it is wrong, the machine starts later. */
  shares?: boolean;
}

/** A machine process and its control socket. Disposing of it kills it. */
export class MachineClient implements Disposable {
  /** Resolves when the machine has booted. Never rejects: for a failed boot, see `ended`. */
  readonly booted: Promise<Event<'booted'>>;
  readonly probed: Promise<Event<'probed'>>;
  /** Resolves when the network is up or has failed. */
  readonly network: Promise<MachineNetwork>;
  onRefusal?: (refusal: Refusal) => void;
  /** Resolves when the machine reports its end, or its process exits. */
  readonly ended: Promise<MachineEnd>;
  /** Resolves when the process has exited and its files are closed. */
  readonly gone: Promise<void>;
  /** Time of the start, in milliseconds since the epoch. */
  readonly spawned: number;
  /**
   * Called with the stderr of the machine process: console and log, harmless for a terminal. It
   * writes nothing before it boots.
   */
  onStderr?: (text: string) => void;
  readonly #program: string;
  readonly #probes: boolean;
  #process: MachineProcess;
  #jail: JailReport | undefined;
  readonly #stderrText = new ConsoleText();
  #lastStderr = '';
  readonly #events = new MachineEvents();
  #asked = false;
  #alive = true;
  /** False once the machine process has said what no machine process says. */
  #isUnderstood = true;
  #boot!: (event: Event<'booted'>) => void;
  #probe!: (event: Event<'probed'>) => void;
  #network!: (network: MachineNetwork) => void;
  #hasBooted = false;
  readonly #joining: { done: () => void; fail: (error: Error) => void }[] = [];
  readonly #sharing: { done: (first: number) => void; fail: (error: Error) => void }[] = [];
  readonly #saving: { done: () => void; fail: (error: Error) => void }[] = [];
  readonly #statistics: ((statistics: MachineStatistics) => void)[] = [];
  #end!: (end: MachineEnd) => void;
  #exit!: () => void;
  #outside: MachineOutside | undefined;
  #isDisposed = false;
  /** Sends that wait for the one before them. */
  readonly #sends: (() => void | Promise<void>)[] = [];
  #isSending = false;

  constructor({ program = MACHINE_PROGRAM, probes = false, jail = earlyJailMode(), shares = false }: Options = {}) {
    this.#program = program;
    this.#probes = probes;
    this.booted = new Promise((resolve) => {
      this.#boot = resolve;
    });
    this.probed = new Promise((resolve) => {
      this.#probe = resolve;
    });
    this.network = new Promise((resolve) => {
      this.#network = resolve;
    });
    this.ended = new Promise((resolve) => {
      this.#end = ({ error, ...end }) => resolve({ ...end, error: error && this.#outOfMemory(error) });
    });
    this.gone = new Promise((resolve) => {
      this.#exit = () => {
        const companion = this.#outside?.companion;
        companion?.kill();
        resolve(companion?.ended.then(() => {}));
      };
    });
    this.#process = this.#start(jail === 'off' ? undefined : { ...NO_NEEDS, hasShares: shares });
    this.spawned = performance.timeOrigin + performance.now();
  }

  #start(needs: JailNeeds | undefined): MachineProcess {
    // A process that was replaced has no more to say.
    const current = (act: () => void): void => {
      if (this.#process === started) act();
    };
    const started: MachineProcess = new MachineProcess({
      program: this.#program,
      probes: this.#probes,
      needs,
      onControl: (chunk) => current(() => this.#read(chunk)),
      onStderr: (chunk) => current(() => this.#readStderr(chunk)),
      onControlEnd: () =>
        current(() => {
          this.#alive = false;
          // One that a guest has taken over may live on without it.
          setTimeout(() => started.kill(), EXIT_TIME).unref();
        }),
      onError: (error) =>
        current(() => {
          this.#exit();
          this.#end({ error: new SandboxError('machine-died', `cannot start the machine process: ${error.message}`) });
        }),
      onExit: () => current(() => this.#exit()),
      onClose: (code, signal) => current(() => this.#end({ error: this.#death(code, signal) })),
    });
    return started;
  }

  /** Process ID of what was started first, which leads the process group of the machine. */
  get groupPid(): number | undefined {
    return this.#process.groupPid;
  }

  /** Process ID of the machine process. Undefined before its jail is known. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** What the first process was jailed by. Undefined: nothing. */
  get firstJail(): Promise<JailReport | undefined> {
    return this.#process.report;
  }

  /** What the machine is jailed by, once it was told to boot. Undefined: nothing. */
  get jail(): JailReport | undefined {
    return this.#jail;
  }

  #readStderr(chunk: Buffer): void {
    const text = this.#stderrText.write(chunk);
    this.#lastStderr = (this.#lastStderr + text).slice(-KEPT_STDERR);
    if (text !== '') this.onStderr?.(text);
  }

  /**
   * Resolves to false if the control socket has ended: it is the first descriptor that the kernel
   * closes at exit.
   */
  async isAlive(): Promise<boolean> {
    // Lets the event loop read what has already arrived.
    await new Promise(setImmediate);
    return this.#alive;
  }

  send(request: MachineRequest): void {
    if (request.type === 'shutdown') this.#asked = true;
    this.#inTurn(() => this.#process.write(request));
  }

  /**
   * Boots the machine. Does not wait.
   * @param outside what the owner opened for the machine, owned from now on
   */
  boot(outside: MachineOutside): void {
    this.#outside = outside;
    const { spec, files, networkFailure } = outside;
    outside.events = {
      isRead: () => this.#process.isRead,
      onAnswer: (answer, sockets) => this.#process.tryPass(answer, sockets),
    };
    this.#inTurn(() => this.#jailFor(outside));
    this.#inTurn(() => outside.bound(this.#process.pids, this.#jail?.uid).catch((error: Error) => this.#fail(error)));
    this.#pass(files, { type: 'boot', spec }).catch((error: Error) => this.#fail(error));
    outside.companion?.ended.then((end) => this.send({ type: 'companion-ended', end }));
    if (networkFailure !== undefined) this.#network({ up: false, reason: networkFailure });
  }

  /** Starts the process again if its jail does not fit the machine. */
  async #jailFor(outside: MachineOutside): Promise<void> {
    const { jail: mode = 'auto', shares } = outside;
    const before = this.#process.needs;
    let report = await this.#process.report;
    const hasShares = shares.length > 0;
    const byLandlock = report?.files === 'landlock' && hasShares;
    const isRoot = process.getuid?.() === 0;
    const fits =
      mode === 'off'
        ? before === undefined
        : before === undefined
          ? !hasLauncher()
          : !byLandlock && (!isRoot || before.hasShares === hasShares);
    if (!fits && !this.#isDisposed) {
      const needs = { hasShares, shares: byLandlock ? shares : [] };
      const previous = this.#process;
      this.#process = this.#start(mode === 'off' ? undefined : needs);
      previous[Symbol.dispose]();
      report = await this.#process.report;
    }
    const { systemCalls = 'off' } = outside.spec;
    const companion = await outside.companion?.report;
    this.#jail = report && {
      ...report,
      seccomp: systemCalls,
      ...(companion && { companion: { ...companion, seccomp: companionFilter(systemCalls) } }),
    };
    if (mode !== 'require') return;
    const missing = whatIsMissing(this.#jail, outside.companion?.name ?? '');
    if (missing !== undefined) this.#fail(new SandboxError('jail', `${missing}: a jail is required`));
  }

  /** A machine whose processes the kernel kills may report something else before it is gone. */
  #outOfMemory(error: Error): Error {
    const why = this.#outside?.outOfMemory();
    return why === undefined ? error : new SandboxError('machine-died', why, { cause: error });
  }

  #fail(error: Error): void {
    this.#end({ error });
    this.#process.kill();
  }

  /**
   * Sends a request after the files that it needs, and closes them.
   * @throws SandboxError `state` if a folder cannot be confined
   */
  #pass(files: MachineFiles, request: MachineRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#inTurn(async () => {
        try {
          await this.#process.pass(files);
          this.#process.write(request);
          resolve();
        } catch (error) {
          // The death of the machine process is reported by 'close'.
          if (error instanceof SandboxError) reject(error);
          else resolve();
        } finally {
          files[Symbol.dispose]();
        }
      });
    });
  }

  /** Calls `send` after those before it. */
  #inTurn(send: () => void | Promise<void>): void {
    this.#sends.push(send);
    if (!this.#isSending) void this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    for (let send = this.#sends.shift(); send !== undefined; send = this.#sends.shift()) {
      const sent = send();
      if (sent !== undefined) await sent;
    }
    this.#isSending = false;
  }

  /** Asks for the machine's statistics. Never settles if the machine ends before it answers. */
  statistics(): Promise<MachineStatistics> {
    this.send({ type: 'statistics' });
    return new Promise((resolve) => this.#statistics.push(resolve));
  }

  /**
   * Joins a private network. Never settles if the machine ends first.
   * @throws SandboxError `network`
   */
  async join(network: PeerNetwork): Promise<void> {
    const outside = this.#outside;
    if (outside === undefined) throw new SandboxError('wrong-state', 'the machine was not told to boot');
    try {
      const entered = outside.enter(network);
      await this.#pass(entered.files, { type: 'join', network: entered.network });
    } catch (cause) {
      outside.leave(network.folder);
      throw new SandboxError('network', messageOf(cause), { cause });
    }
    await new Promise<void>((done, fail) => this.#joining.push({ done, fail }));
  }

  /** Leaves the private network whose members meet in `folder`. */
  leave(folder: string): void {
    this.send({ type: 'leave', folder });
    this.#outside?.leave(folder);
  }

  /**
   * Gives the machine more shares. Never settles if the machine ends first.
   * @param opened their descriptors, opened with O_PATH, owned from now on
   * @returns the index of the first
   * @throws SandboxError `state`
   */
  async share(shares: readonly LaterShare[], opened: readonly number[]): Promise<number> {
    const files = new MachineFiles();
    for (const [index, fd] of opened.entries()) files.addTree(shareName(index), fd, shares[index]?.readOnly === true);
    // Its rules are those of its start.
    if (this.#jail?.files === 'landlock') {
      files[Symbol.dispose]();
      throw new SandboxError('state', 'a machine that landlock jails can have no more shares: this host needs a root');
    }
    await this.#pass(files, { type: 'share', shares: [...shares] });
    return await new Promise<number>((done, fail) => this.#sharing.push({ done, fail }));
  }

  /** Closes shares that the machine was given. */
  unshare(indexes: readonly number[]): void {
    this.send({ type: 'unshare', indexes: [...indexes] });
  }

  /**
   * Pauses the machine and saves it. If that fails it runs on. Never settles if the machine ends
   * first.
   * @param files {@link SAVED_MEMORY} and {@link SAVED_STATE}, owned from now on
   * @throws SandboxError `no-space`, `snapshot`
   */
  async save(files: MachineFiles): Promise<void> {
    await this.#pass(files, { type: 'save' });
    await new Promise<void>((done, fail) => this.#saving.push({ done, fail }));
  }

  /** Process id of the companion, which leads a process group; undefined while there is none. */
  get companionPid(): number | undefined {
    return this.#outside?.companion?.pid;
  }

  /** Milliseconds that the machine's threads waited for processors of the host since their start. */
  get processorWait(): number {
    return processorWait([...this.#process.pids, ...(this.#outside?.companion?.pids ?? [])]);
  }

  #read(chunk: Buffer): void {
    if (!this.#isUnderstood || this.#isDisposed) return;
    try {
      for (const event of this.#events.read(chunk)) this.#handle(event);
    } catch (cause) {
      this.#isUnderstood = false;
      const message = `the machine process cannot be understood: ${messageOf(cause)}`;
      this.#end({ error: new SandboxError('machine-died', message, { cause }) });
      this.#process.kill();
    }
  }

  #handle(event: MachineEvent): void {
    switch (event.type) {
      case 'kvm':
        // A guest that has taken over its machine has no say in how others run.
        if (!this.#hasBooted) this.#outside?.kvmProbed(event.result);
        break;
      case 'booted':
        this.#hasBooted = true;
        this.#outside?.booted(event.accel);
        if (event.accel === 'kvm' && this.#jail?.companion !== undefined) {
          const { companion: _, ...own } = this.#jail;
          this.#jail = own;
        }
        this.#boot(event);
        break;
      case 'probed':
        this.#probe(event);
        break;
      case 'network':
        this.#network({ up: true, ports: this.#outside?.published ?? [] });
        break;
      case 'joined': {
        const { done, fail } = asked(this.#joining);
        if (event.error === undefined) done();
        else fail(new SandboxError('network', event.error));
        break;
      }
      case 'shared': {
        const { done, fail } = asked(this.#sharing);
        if (event.first !== undefined) done(event.first);
        else fail(new SandboxError('state', event.error ?? 'the machine does not say where its shares are'));
        break;
      }
      case 'saved': {
        const { done, fail } = asked(this.#saving);
        if (event.error === undefined) done();
        else if (event.isDiskFull) fail(new SandboxError('no-space', 'the machine cannot be saved: the disk is full'));
        else fail(new SandboxError('snapshot', `the machine cannot be saved: ${event.error}`));
        break;
      }
      case 'connect':
        if (this.#outside === undefined) throw new RangeError('a connection before boot');
        this.#outside.connect(event.asked);
        break;
      case 'arrivals':
        if (this.#outside === undefined) throw new RangeError('arrivals before boot');
        this.#outside.arrivals(event.published);
        break;
      case 'refused':
        this.onRefusal?.(event.refusal);
        break;
      case 'statistics':
        asked(this.#statistics)(event.statistics);
        break;
      case 'stopped': {
        const { statistics, console } = event;
        const error = this.#asked
          ? undefined
          : new MachineError('guest-crash', stopReason(console), { cause: console });
        this.#end({ statistics, error });
        break;
      }
      case 'failed':
        this.#end({ error: new MachineError(event.code, event.message, { cause: event.console }) });
    }
  }

  #death(code: number | null, signal: string | null): Error | undefined {
    if (this.#asked && code === 0) return undefined;
    // Node.js prints the name of an uncaught error, and why V8 gave up, at the start of a line.
    const why = this.#lastStderr.split('\n').find((line) => /^(\w*Error\b|FATAL ERROR: |tsvm-jail: )/.test(line));
    // V8 gives up by abort(3), which sends a signal: a system call that is not on the list.
    if (signal === 'SIGSYS' && why === undefined) {
      const what = 'made a system call that is not on its list, and was killed (SIGSYS): dmesg says which';
      return new SandboxError('machine-died', `the machine process ${what}`);
    }
    const how = signal === null ? `exit code ${code}` : signal;
    return new SandboxError('machine-died', `the machine process died (${how})${why === undefined ? '' : `: ${why}`}`);
  }

  /** Kills the machine. Its process may still be exiting when this returns: see `gone`. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#process[Symbol.dispose]();
    this.#outside?.[Symbol.dispose]();
  }
}

/** What waits for the next answer. @throws RangeError if nothing does */
function asked<T>(waiting: T[]): T {
  const first = waiting.shift();
  if (first === undefined) throw new RangeError('an answer to no question');
  return first;
}

/** The reason for the stop of a guest that was not asked to stop. */
function stopReason(console = ''): string {
  const panic = /Kernel panic - not syncing: ([^\r\n]*)/.exec(console);
  // The guest is hostile, and the message is shown on a terminal: only printable characters.
  if (panic?.[1] !== undefined) return `the guest's kernel panicked: ${panic[1].replace(/[^\x20-\x7e]+/g, ' ')}`;
  return 'the guest stopped by itself: --console shows its last output';
}
