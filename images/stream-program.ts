// Programs that read stdin and write stdout, as streams: zstd and xz, each in a jail.

import { spawn } from 'node:child_process';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FILTER_FD, streamCommand } from '../jail/launcher.js';
import { ImageError } from './errors.js';

/** Begins what the launcher of jails says where it cannot start a program. */
const LAUNCHER_COMPLAINT = 'tsvm-jail: ';

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
  async function* watched(): AsyncGenerator<Buffer> {
    try {
      yield* source;
    } catch (error) {
      sourceFailure = error;
      throw error;
    }
  }
  // If the program finds damage it closes its input early. The exit status reports that, so the
  // broken pipe is ignored.
  const fed = pipeline(watched(), stdin).catch(() => {});
  try {
    for await (const chunk of stdout) yield chunk;
    const { code, signal } = await exited;
    await fed;
    if (signal !== null) throw new ImageError('io', `${program.name}, which ${program.did} it, was ended by ${signal}`);
    if (code !== 0) {
      if (complaint.startsWith(LAUNCHER_COMPLAINT)) throw new ImageError('missing-program', complaint.trim());
      throw program.failed(complaint.trim().split('\n')[0] || `exit status ${code}`);
    }
  } catch (cause) {
    if (sourceFailure) throw sourceFailure;
    throw cause;
  } finally {
    child.kill();
  }
}
