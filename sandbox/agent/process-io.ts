// Connects the streams of one process in the guest to the caller's streams.
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { StreamName, TerminalSize } from './protocol.js';
import { type Copy, copy } from './streams.js';

/** Milliseconds without a byte after which the output of an exited process counts as ended. */
const OUTPUT_STALL = 10_000;

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
    const drain = async (name: StreamName, sink: Writable) => this.#drain(await source(name), sink);
    await Promise.all([drain('stdout', stdout), drain('stderr', stderr)]);
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

  #feed(stream: Socket): void {
    if (this.#io.stdin === undefined) stream.end();
    else copy(this.#io.stdin, stream).done.then(() => stream.end());
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
