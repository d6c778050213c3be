// Copies one output stream of a container to all its readers: the log, the caller in the
// foreground, attached clients.
import { Writable } from 'node:stream';
import type { LogStream, LogWriter } from '../home/log-file.js';

export interface OutputFanOutOptions {
  log?: LogWriter | undefined;
  /** The caller's stream. Its errors destroy the fan-out. It is not closed. */
  primary?: Writable | undefined;
}

/**
 * Accepts the next chunk when all readers have taken the last one: the slowest reader sets the
 * process's pace.
 */
export class OutputFanOut extends Writable {
  readonly #name: LogStream;
  readonly #log: LogWriter | undefined;
  readonly #primary: Writable | undefined;
  readonly #attached = new Set<Writable>();

  constructor(name: LogStream, { log, primary }: OutputFanOutOptions) {
    super({ decodeStrings: false });
    this.#name = name;
    this.#log = log;
    this.#primary = primary;
    primary?.on('error', (error) => this.destroy(error));
  }

  /** Copies all further output to the sink, until the sink is closed. */
  attach(sink: Writable): void {
    this.#attached.add(sink);
    sink.once('close', () => this.#attached.delete(sink));
  }

  /** Ends the streams of attached clients. */
  endAttached(): void {
    for (const sink of this.#attached) sink.end();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#log?.write(this.#name, chunk);
    let waiting = 1;
    const taken = () => {
      if (--waiting === 0) done();
    };
    for (const sink of this.#attached) {
      if (sink.writableEnded || sink.destroyed) continue;
      waiting++;
      // Also called with an error, if the reader goes away. It is then no longer waited for.
      sink.write(chunk, taken);
    }
    if (this.#primary !== undefined) {
      waiting++;
      this.#primary.write(chunk, (error) => (error ? done(error) : taken()));
    }
    taken();
  }
}
