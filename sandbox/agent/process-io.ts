// Connects the streams of one process in the guest to the caller's streams.
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import type { StreamName, TerminalSize } from './protocol.js';
import { type Copy, copy } from './streams.js';

/** Milliseconds without a byte after which the output of an exited process counts as ended. */
const OUTPUT_STALL = 10_000;
/** The number of checks in the time after which streams count as idle. */
const IDLE_CHECKS = 10;

/**
 * The caller's streams for a process. The output of a terminal goes to `stdout`. None of the
 * streams is closed.
 */
export interface ContainerIo {
  stdin?: Readable | undefined;
  stdout: Writable;
  stderr: Writable;
  /** Size of the process's terminal at the start. */
  terminalSize?: TerminalSize | undefined;
}

/** The source of a process's streams: an agent session or a stream listener. */
export type StreamSource = (name: StreamName) => Promise<Socket>;

/** Events of the streams. */
export interface ProcessIoEvents {
  onFirstOutput?(): void;
  /** The reader of the output is gone, and the process's stream is closed. */
  onBrokenPipe(): void;
  /** A write of output failed for another reason. */
  onWriteError(error: NodeJS.ErrnoException): void;
}

/** The connected streams of one process. */
export class ProcessIo {
  readonly #outputs: Copy[] = [];
  #input: { copy: Copy; hasEnded: boolean } | undefined;
  readonly #io: ContainerIo;
  readonly #events: ProcessIoEvents;

  constructor(io: ContainerIo, events: ProcessIoEvents) {
    this.#io = io;
    this.#events = events;
  }

  /** Number of output chunks that the process has written. */
  get outputChunks(): number {
    return this.#outputs.reduce((sum, { chunks }) => sum + chunks, 0);
  }

  /** Connects the streams as they arrive. Resolves when the output has ended. */
  async connect(source: StreamSource, { terminal, stdin }: { terminal: boolean; stdin: boolean }): Promise<void> {
    const { stdout, stderr } = this.#io;
    if (terminal) {
      const stream = await source('terminal');
      if (stdin) this.#feed(stream);
      return this.#drain(stream, stdout);
    }
    if (stdin) source('stdin').then((stream) => this.#feed(stream));
    const drainStderr = async () => {
      const stream = await source('stderr');
      // Its first bytes come with its opening. Those of stdout that were written before them wait
      // in another socket: this turn of the event loop may not have them, the next one does.
      await turn();
      await turn();
      await this.#drain(stream, stderr);
    };
    await Promise.all([source('stdout').then((stream) => this.#drain(stream, stdout)), drainStderr()]);
  }

  /**
   * Resolves when the output of an exited process stalls without an end.
   * @param own takes the timer, to be disposed of with the process
   */
  stalled(own: (timer: Disposable) => void): Promise<void> {
    return new Promise((resolve) => {
      let seen = -1;
      const timer = setInterval(() => {
        const { outputChunks } = this;
        if (seen === outputChunks && !this.#outputs.some(({ blocked }) => blocked)) resolve();
        seen = outputChunks;
      }, OUTPUT_STALL);
      own({ [Symbol.dispose]: () => clearInterval(timer) });
    });
  }

  /**
   * Resolves when no byte has passed in either direction for `timeout` milliseconds in which only
   * the guest was waited for: not for the caller's input, nor for a reader of the output.
   * @param own takes the timer, to be disposed of with the process
   */
  idle(timeout: number, own: (timer: Disposable) => void): Promise<void> {
    return new Promise((resolve) => {
      let seen = -1;
      let idle = 0;
      const timer = setInterval(() => {
        const chunks = this.outputChunks + (this.#input?.copy.chunks ?? 0);
        idle = chunks === seen && this.#awaitsGuest ? idle + 1 : 0;
        seen = chunks;
        if (idle === IDLE_CHECKS) resolve();
      }, timeout / IDLE_CHECKS);
      own({ [Symbol.dispose]: () => clearInterval(timer) });
    });
  }

  get #awaitsGuest(): boolean {
    if (this.#outputs.some(({ blocked }) => blocked)) return false;
    return this.#input === undefined || this.#input.hasEnded || this.#input.copy.blocked;
  }

  #feed(stream: Socket): void {
    if (this.#io.stdin === undefined) {
      stream.end();
      return;
    }
    const input = { copy: copy(this.#io.stdin, stream), hasEnded: false };
    this.#input = input;
    input.copy.done.then(() => {
      input.hasEnded = true;
      stream.end();
    });
  }

  async #drain(stream: Socket, sink: Writable): Promise<void> {
    const output = copy(stream, sink, () => this.#events.onFirstOutput?.());
    this.#outputs.push(output);
    const end = await output.done;
    if (end.reason === 'end') return;
    if (end.error.code !== 'EPIPE') return this.#events.onWriteError(end.error);
    // The process gets EPIPE, as from any pipe.
    stream.destroy();
    this.#events.onBrokenPipe();
  }
}
