// Decompresses a layer as a stream: gzip with Node's zlib, zstd and xz with the programs of those
// names. Archives that are no layers may be compressed by bzip2 too.

import { once } from 'node:events';
import type { TransformOptions } from 'node:stream';
import { createGunzip, type ZlibOptions } from 'node:zlib';
import { codeOf, messageOf } from '../errors/index.js';
import { type Compression, compressionOf, MAGIC_SIZE } from './compression.js';
import { ImageError } from './errors.js';
import { MAX_EXPANSION_BYTES, MAX_EXPANSION_RATIO } from './limits.js';
import { type StreamProgram, through } from './stream-program.js';

/** Chunks of 256 KiB. zlib's thread may be sixteen of them ahead of the reader. */
const GZIP: ZlibOptions & TransformOptions = { chunkSize: 256 * 1024, readableHighWaterMark: 4 << 20 };

/** The memory limits exceed what the strongest usual setting of each program needs. */
const ZSTD = decompressorProgram('zstd', ['-dcq', '--memory=512MB'], 'zstd');
// xz 5.6 and later would have a thread for each CPU, which the jail may not allow.
const XZ = decompressorProgram('xz', ['-dcq', '-T1', '--memlimit-decompress=512MiB'], 'xz-utils');
const BZIP2 = decompressorProgram('bzip2', ['-dcq'], 'bzip2');

function decompressorProgram(name: string, words: string[], debianPackage: string): StreamProgram {
  return {
    name,
    arguments: words,
    did: 'unpacked',
    missing: () =>
      new ImageError(
        'missing-program',
        `it is compressed with ${name}, which is not installed: apt install ${debianPackage}`,
      ),
    failed: (reason) => new ImageError('corrupt', `its ${name} data are damaged or cut short (${reason})`),
  };
}

/**
 * Decompresses a stream. The format is detected from the first bytes; uncompressed data passes
 * through.
 *
 * @param allowsBzip2 layers are not compressed by bzip2, other archives may be
 * @throws ImageError `corrupt`, `unsupported`, `missing-program`, `too-large`; the source's errors
 */
export async function* decompress(source: AsyncIterable<Buffer>, { allowsBzip2 = false } = {}): AsyncGenerator<Buffer> {
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
  if (compression === 'bzip2' && !allowsBzip2) {
    throw new ImageError('unsupported', 'it is compressed with bzip2, which tsvm does not support');
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
      return through(BZIP2, source);
  }
}

/** Reads the first `size` bytes of a stream, or all if it is shorter. `rest` has them too. */
export async function peek(
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
