// Compresses a layer as a stream, to push it: gzip with Node's zlib, zstd with the program of that
// name. The same bytes give the same result with one version of the compressor, on one kind of
// processor.

import { Readable, type TransformOptions } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip, type ZlibOptions } from 'node:zlib';
import { ImageError } from './errors.js';
import { type StreamProgram, through } from './stream-program.js';

/** How a layer made here may be compressed for a registry. */
export const PUSH_COMPRESSIONS = ['gzip', 'zstd'] as const;
export type PushCompression = (typeof PUSH_COMPRESSIONS)[number];

/** zlib's usual level. Its thread may be 4 MiB ahead of the reader. */
const GZIP: ZlibOptions & TransformOptions = { level: 6, chunkSize: 256 * 1024, readableHighWaterMark: 4 << 20 };

const ZSTD: StreamProgram = {
  name: 'zstd',
  arguments: ['-cq', '-3', '--single-thread'],
  did: 'compressed',
  missing: () => new ImageError('missing-program', 'to compress with zstd, install it: apt install zstd'),
  failed: (reason) => new ImageError('io', `zstd failed: ${reason}`),
};

/**
 * Compresses a stream.
 *
 * @throws ImageError `missing-program`, `io`; the source's errors
 */
export function compress(source: AsyncIterable<Buffer>, compression: PushCompression): AsyncIterable<Buffer> {
  return compression === 'zstd' ? through(ZSTD, source) : gzip(source);
}

async function* gzip(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const stream = createGzip(GZIP);
  const fed = pipeline(Readable.from(source), stream);
  fed.catch(() => {});
  try {
    for await (const chunk of stream) yield chunk;
    await fed;
  } finally {
    stream.destroy();
  }
}
