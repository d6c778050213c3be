// Decompresses a layer as a stream: gzip with Node's zlib, zstd and xz with the programs of those
// names, each in a jail.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TransformOptions, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, type ZlibOptions } from 'node:zlib';
import { codeOf, messageOf } from '../errors/index.js';
import { FILTER_FD, streamCommand } from '../jail/launcher.js';
import { type Compression, compressionOf, MAGIC_SIZE } from './compression.js';
import { ImageError } from './errors.js';
import { MAX_EXPANSION_BYTES, MAX_EXPANSION_RATIO } from './limits.js';

/** Chunks of 256 KiB. zlib's thread may be sixteen of them ahead of the reader. */
const GZIP: ZlibOptions & TransformOptions = { chunkSize: 256 * 1024, readableHighWaterMark: 4 << 20 };

/** Begins what the launcher of jails says where it cannot start a program. */
const LAUNCHER_COMPLAINT = 'tsvm-jail: ';

interface Program {
  name: string;
  arguments: string[];
  debianPackage: string;
}

/** The memory limits exceed what the strongest usual setting of each program needs. */
const ZSTD: Program = { name: 'zstd', arguments: ['-dcq', '--memory=512MB'], debianPackage: 'zstd' };
const XZ: Program = { name: 'xz', arguments: ['-dcq', '--memlimit-decompress=512MiB'], debianPackage: 'xz-utils' };

/**
 * Decompresses a stream. The format is detected from the first bytes; uncompressed data passes
 * through.
 *
 * @throws ImageError `corrupt`, `unsupported`, `missing-program`, `too-large`; the source's errors
 */
export async function* decompress(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let read = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      read += chunk.length;
      yield chunk;
    }
  }
  const { start, rest } = await peek(counted(), MAGIC_SIZE);
  const compression = compressionOf(start);
  if (compression === 'none') {
    yield* rest;
    return;
  }
  let written = 0;
  for await (const chunk of decompressor(compression, rest)) {
    written += chunk.length;
    if (written > MAX_EXPANSION_BYTES && written > read * MAX_EXPANSION_RATIO) {
      throw new ImageError(
        'too-large',
        `its ${compression} data expand to more than ${MAX_EXPANSION_RATIO} times their size`,
      );
    }
    yield chunk;
  }
}

function decompressor(compression: Exclude<Compression, 'none'>, source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  switch (compression) {
    case 'gzip':
      return gunzip(source);
    case 'zstd':
      return through(ZSTD, source);
    case 'xz':
      return through(XZ, source);
    case 'bzip2':
      throw new ImageError('unsupported', 'it is compressed with bzip2, which tsvm does not support');
  }
}

async function peek(
  source: AsyncIterable<Buffer>,
  size: number,
): Promise<{ start: Buffer; rest: AsyncIterable<Buffer> }> {
  const iterator = source[Symbol.asyncIterator]();
  let start: Buffer = Buffer.alloc(0);
  while (start.length < size) {
    const { done, value } = await iterator.next();
    if (done) break;
    start = start.length === 0 ? value : Buffer.concat([start, value]);
  }
  async function* rest(): AsyncGenerator<Buffer> {
    try {
      if (start.length > 0) yield start;
      for (;;) {
        const { done, value } = await iterator.next();
        if (done) return;
        yield value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { start, rest: rest() };
}

async function* gunzip(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const stream = createGunzip(GZIP);
  const closed = once(stream, 'close').catch(() => {});
  let abandoned = false;
  // Fed by hand: a pipeline fails if the gzip data end before the source does. Some writers append
  // bytes after the gzip data. These are harmless, but must be read: the digest covers them.
  async function feed(): Promise<void> {
    try {
      for await (const chunk of source) {
        if (abandoned) return;
        if (!stream.destroyed && !stream.write(chunk))
          await Promise.race([once(stream, 'drain'), closed]).catch(() => {});
      }
      if (!stream.destroyed) stream.end();
    } catch (error) {
      stream.destroy(error instanceof Error ? error : new Error(messageOf(error)));
      throw error;
    }
  }
  const fed = feed();
  fed.catch(() => {});
  try {
    for await (const chunk of stream) yield chunk;
    await fed;
  } catch (cause) {
    if (codeOf(cause)?.startsWith('Z_'))
      throw new ImageError('corrupt', 'its gzip data are damaged or cut short', { cause });
    throw cause;
  } finally {
    abandoned = true;
    stream.destroy();
  }
}

async function* through(program: Program, source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const { words: [command, ...words] = [], filter } = streamCommand(program.name, program.arguments) ?? {};
  if (command === undefined) {
    throw new ImageError(
      'missing-program',
      `it is compressed with ${program.name}, which is not installed: apt install ${program.debianPackage}`,
    );
  }
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
    if (signal !== null) throw new ImageError('io', `${program.name}, which unpacked it, was ended by ${signal}`);
    if (code !== 0) {
      if (complaint.startsWith(LAUNCHER_COMPLAINT)) throw new ImageError('missing-program', complaint.trim());
      const reason = complaint.trim().split('\n')[0] || `exit status ${code}`;
      throw new ImageError('corrupt', `its ${program.name} data are damaged or cut short (${reason})`);
    }
  } catch (cause) {
    if (sourceFailure) throw sourceFailure;
    throw cause;
  } finally {
    child.kill();
  }
}
