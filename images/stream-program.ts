// Programs that read stdin and write stdout, as streams: zstd and xz, each in a jail.

import { spawn } from 'node:child_process';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FILTER_FD, streamCommand } from '../jail/launcher.js';
import { ImageError } from './errors.js';

/** Begins what the launcher of jails says where it cannot start a program. */
const LAUNCHER_COMPLAINT = 'tsvm-jail: ';

/** Seconds in which a program that has input may neither read nor write. */
const PATIENCE = 60;

export interface StreamProgram {
  name: string;
  arguments: string[];
  /** What it did to the stream: `unpacked`. */
  did: string;
  /** The error if the program is not installed. */
  missing: () => ImageError;
  /** The error if it fails. `reason` is its first line on stderr, or its exit status. */
  failed: (reason: string) => ImageError;
}

/**
 * Passes a stream through a program.
 *
 * @throws ImageError; the source's errors
 */
export async function* through(program: StreamProgram, source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const { words: [command, ...words] = [], filter } = streamCommand(program.name, program.arguments) ?? {};
  if (command === undefined) throw program.missing();
  const child = spawn(command, words, {
    stdio: ['pipe', 'pipe', 'pipe', filter === undefined ? 'ignore' : 'pipe'],
    env: { PATH: process.env.PATH },
  });
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) throw new TypeError('the program has no pipes');
  const filterPipe: unknown = child.stdio[FILTER_FD];
  if (filterPipe instanceof Writable) filterPipe.on('error', () => {}).end(filter);
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  exited.catch(() => {});
  let complaint = '';
  stderr.on('data', (chunk: Buffer) => {
    if (complaint.length < 1000) complaint += chunk.toString();
  });
  let sourceFailure: unknown = null;
  const stillness = new Stillness(() => child.kill('SIGKILL'));
  async function* watched(): AsyncGenerator<Buffer> {
    try {
      yield* stillness.apart(source);
    } catch (error) {
      sourceFailure = error;
      throw error;
    }
  }
  // If the program finds damage it closes its input early. The exit status reports that, so the
  // broken pipe is ignored.
  const fed = pipeline(watched(), stdin).catch(() => {});
  try {
    for await (const chunk of stdout) {
      stillness.pause();
      yield chunk;
      stillness.resume();
    }
    const { code, signal } = await exited;
    await fed;
    if (stillness.isOver) {
      throw new ImageError('io', `${program.name} stood still for ${PATIENCE} s, and was ended: try again`);
    }
    if (signal !== null) throw new ImageError('io', `${program.name}, which ${program.did} it, was ended by ${signal}`);
    if (code !== 0) {
      if (complaint.startsWith(LAUNCHER_COMPLAINT)) throw new ImageError('missing-program', complaint.trim());
      throw program.failed(complaint.trim().split('\n')[0] || `exit status ${code}`);
    }
  } catch (cause) {
    if (sourceFailure) throw sourceFailure;
    throw cause;
  } finally {
    stillness.end();
    child.kill();
  }
}

/**
 * Ends what makes no progress for {@link PATIENCE}. Steps of a second are counted and not the time, so
 * that a process that was stopped itself does not take that for the other's fault.
 */
class Stillness {
  isOver = false;
  #steps = 0;
  #pauses = 0;
  readonly #timer = setInterval(() => this.#step(), 1000);
  readonly #onEnd: () => void;

  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  #step(): void {
    this.#steps = this.#pauses > 0 ? 0 : this.#steps + 1;
    if (this.#steps < PATIENCE) return;
    this.isOver = true;
    this.end();
    this.#onEnd();
  }

  /** Something else is waited for. */
  pause(): void {
    this.#pauses++;
  }

  resume(): void {
    this.#pauses--;
    this.#steps = 0;
  }

  /** The same chunks. The time in which each is waited for does not count. */
  async *apart<T>(source: AsyncIterable<T>): AsyncGenerator<T> {
    this.pause();
    try {
      for await (const chunk of source) {
        this.resume();
        try {
          yield chunk;
        } finally {
          this.pause();
        }
      }
    } finally {
      this.resume();
    }
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
