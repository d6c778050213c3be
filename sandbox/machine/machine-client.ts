// The client of a machine process: starts it, talks to it over its control socket (JSON lines,
// vmm/machine.ts), ends it.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { messageOf } from '../../errors/index.js';
import { JsonLines } from '../../vmm/json-lines.js';
import {
  MachineError,
  type MachineEvent,
  type MachineRequest,
  type MachineStatistics,
  type PeerNetwork,
  type Refusal,
} from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { MACHINE_PROGRAM } from '../programs.js';
import { ConsoleText } from './console-text.js';
import type { MachineFiles } from './machine-files.js';
import { openKvm } from './open-kvm.js';
import type { MachineOutside } from './outside.js';
import { lineOf, sendWithFiles } from './send-files.js';

/**
 * Bytes. Lines of the control socket are shorter. The longest are errors with the last output of
 * the console.
 */
const MAX_LINE = 1024 * 1024;
/** Bytes of stderr that are kept for the error message of a death. */
const KEPT_STDERR = 4096;

type Event<T extends MachineEvent['type']> = Extract<MachineEvent, { type: T }>;

/** The end of a machine. `error` is the reason, unless the machine was asked to stop. */
export interface MachineEnd {
  statistics?: MachineStatistics;
  error: Error | undefined;
}

/** A machine process and its control socket. Disposing of it kills it. */
export class MachineClient implements Disposable {
  /** Resolves when the machine has booted. Never rejects: for a failed boot, see `ended`. */
  readonly booted: Promise<Event<'booted'>>;
  readonly probed: Promise<Event<'probed'>>;
  /** Resolves when the network is up or has failed. */
  readonly network: Promise<Event<'network'>>;
  /**
   * Called with the reason when the network goes down after it was up, and without one when it is
   * up again.
   */
  onNetworkChange?: (reason: string | undefined) => void;
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
  readonly #child: ChildProcess;
  readonly #stderr: Readable;
  readonly #control: Socket;
  readonly #stderrText = new ConsoleText();
  #lastStderr = '';
  readonly #lines = new JsonLines(MAX_LINE);
  #asked = false;
  #alive = true;
  #boot!: (event: Event<'booted'>) => void;
  #probe!: (event: Event<'probed'>) => void;
  #network!: (event: Event<'network'>) => void;
  #hadNetwork = false;
  #hasBooted = false;
  readonly #joining: { done: () => void; fail: (error: Error) => void }[] = [];
  readonly #statistics: ((statistics: MachineStatistics) => void)[] = [];
  #end!: (end: MachineEnd) => void;
  #outside: MachineOutside | undefined;
  /** Sends that wait until Node.js has written all before them. */
  #waiting: (() => void)[] | undefined;

  /**
   * @param program path of the machine's program
   * @param probes the machine is to probe KVM, whatever an earlier probe found
   */
  constructor(program = MACHINE_PROGRAM, probes = false) {
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
      this.#end = resolve;
    });
    // In a session of its own: Ctrl-C on the terminal is for the process in the guest, not for the
    // machine.
    const kvm = openKvm(probes);
    this.#child = spawn(process.execPath, [program, kvm.argument], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', kvm.fd ?? 'ignore'],
      detached: true,
    });
    if (kvm.fd !== undefined) closeSync(kvm.fd);
    this.gone = new Promise((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.once('error', () => resolve());
    });
    this.spawned = performance.timeOrigin + performance.now();
    this.#child.on('error', (error) => {
      this.#end({ error: new SandboxError('machine-died', `cannot start the machine process: ${error.message}`) });
    });
    // 'close' follows the last byte of stderr and of the control socket. 'exit' may come before
    // them.
    this.#child.on('close', (code, signal) => this.#end({ error: this.#death(code, signal) }));
    const { stderr, stdio } = this.#child;
    const control = stdio[3];
    if (stderr === null || !(control instanceof Socket)) throw new TypeError('the child process has no pipes');
    this.#stderr = stderr;
    this.#stderr.on('data', (chunk: Buffer) => {
      const text = this.#stderrText.write(chunk);
      this.#lastStderr = (this.#lastStderr + text).slice(-KEPT_STDERR);
      if (text !== '') this.onStderr?.(text);
    });
    this.#control = control;
    this.#control.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#control.on('end', () => {
      this.#alive = false;
    });
    // A write to a process that has just died fails. The death itself is reported by 'close'.
    this.#control.on('error', () => {});
  }

  get pid(): number | undefined {
    return this.#child.pid;
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
    this.#inTurn(() => this.#control.write(lineOf(request)));
  }

  /**
   * Boots the machine.
   * @param outside what the owner opened for the machine, owned from now on
   */
  boot(outside: MachineOutside): void {
    this.#outside = outside;
    const { spec, files, networkFailure } = outside;
    outside.events = {
      onPasstStarted: (opened) => this.#sendWith(opened, { type: 'passt-started' }),
      onPasstEnded: (reason) => this.send({ type: 'passt-ended', reason }),
    };
    this.#sendWith(files, { type: 'boot', spec });
    if (networkFailure !== undefined) this.#network({ type: 'network', up: false, reason: networkFailure });
  }

  /** Sends a request after the files that it needs, and closes them. */
  #sendWith(files: MachineFiles, request: MachineRequest): void {
    this.#inTurn(() => {
      try {
        sendWithFiles(this.#control, files, request);
      } catch {
        // The death of the machine process is reported by 'close'.
      } finally {
        files[Symbol.dispose]();
      }
    });
  }

  /** Calls `send` when Node.js has written everything: files pass by its queue. */
  #inTurn(send: () => void): void {
    if (this.#waiting !== undefined) this.#waiting.push(send);
    else if (this.#control.writableLength === 0) send();
    else {
      const waiting = [send];
      this.#waiting = waiting;
      this.#control.write('', () => {
        this.#waiting = undefined;
        for (const each of waiting) this.#inTurn(each);
      });
    }
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
      this.#sendWith(outside.enter(network), { type: 'join', network });
    } catch (cause) {
      throw new SandboxError('network', messageOf(cause), { cause });
    }
    await new Promise<void>((done, fail) => this.#joining.push({ done, fail }));
  }

  /** Leaves the private network whose members meet in `folder`. */
  leave(folder: string): void {
    this.send({ type: 'leave', folder });
    this.#outside?.leave(folder);
  }

  /** Process id of passt, which leads a process group; undefined while there is none. */
  get passtPid(): number | undefined {
    return this.#outside?.passtPid;
  }

  #read(chunk: Buffer): void {
    try {
      for (const value of this.#lines.read(chunk)) {
        if (!isEvent(value)) throw new RangeError('a line that is not an event');
        this.#handle(value);
      }
    } catch (cause) {
      const message = `the machine process cannot be understood: ${messageOf(cause)}`;
      this.#end({ error: new SandboxError('machine-died', message, { cause }) });
      this.#kill();
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
        this.#outside?.booted();
        this.#boot(event);
        break;
      case 'passt-restart':
        this.#outside?.restartPasst();
        break;
      case 'passt-kill':
        this.#outside?.killPasst(event.reason);
        break;
      case 'probed':
        this.#probe(event);
        break;
      case 'network':
        if (event.up) event.ports = this.#outside?.networkUp() ?? event.ports;
        if (this.#hadNetwork) this.onNetworkChange?.(event.up ? undefined : event.reason);
        this.#hadNetwork ||= event.up;
        this.#network(event);
        break;
      case 'joined': {
        const { done, fail } = this.#joining.shift() ?? {};
        if (event.error === undefined) done?.();
        else fail?.(new SandboxError('network', event.error));
        break;
      }
      case 'refused':
        this.onRefusal?.(event.refusal);
        break;
      case 'statistics':
        this.#statistics.shift()?.(event.statistics);
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
    const how = signal === null ? `exit code ${code}` : signal;
    // Node.js prints the name of an uncaught error at the start of a line.
    const why = this.#lastStderr.split('\n').find((line) => /^\w*Error\b/.test(line));
    return new SandboxError('machine-died', `the machine process died (${how})${why === undefined ? '' : `: ${why}`}`);
  }

  /**
   * Kills the machine process and the programs that it started: one that is stopped outlives it.
   */
  #kill(): void {
    const { pid, exitCode, signalCode } = this.#child;
    // The number of a process that is gone may be another's.
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has not become the leader of its group yet.
      this.#child.kill('SIGKILL');
    }
  }

  /** Kills the machine. Its process may still be exiting when this returns: see `gone`. */
  [Symbol.dispose](): void {
    this.#kill();
    this.#outside?.[Symbol.dispose]();
    this.#control.destroy();
    this.#stderr.destroy();
  }
}

/** The machine process is of our own build, so the type of an event implies its other fields. */
function isEvent(value: unknown): value is MachineEvent {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

/** The reason for the stop of a guest that was not asked to stop. */
function stopReason(console = ''): string {
  const panic = /Kernel panic - not syncing: ([^\r\n]*)/.exec(console);
  // The guest is hostile, and the message is shown on a terminal: only printable characters.
  if (panic?.[1] !== undefined) return `the guest's kernel panicked: ${panic[1].replace(/[^\x20-\x7e]+/g, ' ')}`;
  return 'the guest stopped by itself: --console shows its last output';
}
