// The streams of one process in the guest, joined to the caller's.
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { StreamName, TerminalSize } from './protocol.js';
import { type Copy, copy } from './streams.js';

/** Milliseconds without a byte after which the output of a process that is gone has ended. */
const OUTPUT_STALL = 10_000;

/** The caller's ends of a process's streams. A terminal's output goes to `stdout`. None of them is closed. */
export interface ContainerIo {
  stdin?: Readable | undefined;
  stdout: Writable;
  stderr: Writable;
  /** Of the process's terminal when it starts. */
  terminalSize?: TerminalSize | undefined;
}

/** Where a process's streams come from: an agent session, or a listener of one's own. */
export type StreamSource = (name: StreamName) => Promise<Socket>;

/** What happens to the streams, for their owner to act on. */
export interface ProcessIoEvents {
  onFirstOutput?(): void;
  /** Nobody reads the output any more: the process has lost its stream. */
  onBrokenPipe(): void;
  /** The output cannot be written for another reason. */
  onWriteError(error: NodeJS.ErrnoException): void;
}

/** The joined streams of one process. */
export class ProcessIo {
  readonly #outputs: Copy[] = [];
  readonly #io: ContainerIo;
  readonly #events: ProcessIoEvents;

  constructor(io: ContainerIo, events: ProcessIoEvents) {
    this.#io = io;
    this.#events = events;
  }

  /** Counts the chunks of output that the process has written. */
  get outputChunks(): number {
    return this.#outputs.reduce((sum, { chunks }) => sum + chunks, 0);
  }

  /** Joins the streams as they arrive; resolves when the output has ended. */
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
   * Resolves when a guest whose process is gone neither ends its output nor goes on with it.
   * @param own takes what is to be disposed of with the process
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
    // The process learns it as from any pipe.
    stream.destroy();
    this.#events.onBrokenPipe();
  }
}
