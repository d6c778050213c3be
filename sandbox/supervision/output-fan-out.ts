// Copies one output stream of a container to all its readers: the log, the caller in the
// foreground, attached clients.
import { Writable } from 'node:stream';
import { TokenBucket } from '../../vmm/rate.js';
import type { LogStream, LogWriter } from '../home/log-file.js';

/**
 * Bytes in a second that a container in the background may log. A guest that writes more waits: to
 * encode and to write them costs its owner a seventh of a CPU at most.
 */
const LOG_RATE = 10_000_000;
/** Bytes that a chunk costs beside what is written: a byte alone takes as long as these. */
const CHUNK = 1024;

/** The rate of both output streams of a container. */
export class LogRate {
  readonly #clock: () => number;
  readonly #bucket: TokenBucket;

  /** @param clock milliseconds */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock;
    this.#bucket = new TokenBucket(LOG_RATE, clock());
  }

  /** Counts a chunk that took `bytes` of the log. Returns the milliseconds until the next one. */
  take(bytes: number): number {
    this.#bucket.take(bytes + CHUNK);
    return this.#bucket.delay(this.#clock());
  }
}

export interface OutputFanOutOptions {
  log?: LogWriter | undefined;
  /** Default: the log sets no pace. */
  rate?: LogRate | undefined;
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
  readonly #rate: LogRate | undefined;
  readonly #primary: Writable | undefined;
  readonly #attached = new Set<Writable>();

  constructor(name: LogStream, { log, rate, primary }: OutputFanOutOptions) {
    super({ decodeStrings: false });
    this.#name = name;
    this.#log = log;
    this.#rate = rate;
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
    const logged = this.#log?.write(this.#name, chunk) ?? 0;
    const delay = this.#rate?.take(logged) ?? 0;
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
    if (delay === 0) taken();
    else setTimeout(taken, delay);
  }
}
