// One output stream of a container and all who get it: the log, the caller in the foreground, and whoever attached.
import { Writable } from 'node:stream';
import type { LogStream, LogWriter } from '../home/log-file.js';

export interface OutputFanOutOptions {
  log?: LogWriter | undefined;
  /** The caller's stream; its errors are the fan-out's. Not closed. */
  primary?: Writable | undefined;
}

/** Takes a chunk once everybody has it: the slowest reader's pace is the process's. */
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

  /** The sink gets what comes from now on, until it is closed. */
  attach(sink: Writable): void {
    this.#attached.add(sink);
    sink.once('close', () => this.#attached.delete(sink));
  }

  /** Ends the streams of those who attached: there is no more to come. */
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
      // Called back with an error too, when the reader goes away: then it is none of ours any more.
      sink.write(chunk, taken);
    }
    if (this.#primary !== undefined) {
      waiting++;
      this.#primary.write(chunk, (error) => (error ? done(error) : taken()));
    }
    taken();
  }
}
