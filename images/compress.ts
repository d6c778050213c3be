// Compresses a layer as a stream, to push it: gzip with Node's zlib, zstd with the program of that
// name. The same bytes give the same result with one version of the compressor, on one kind of
// processor.

import { promisify } from 'node:util';
import { gzip as gzipBuffer, type ZlibOptions } from 'node:zlib';
import { ImageError } from './errors.js';
import { gathered } from './gathered.js';
import type { PushCompression } from './push-compressions.js';
import { type StreamProgram, through } from './stream-program.js';

/** 3 % larger than zlib's usual level, and a third faster. */
const GZIP: ZlibOptions = { level: 4 };
/** Bytes of a gzip member, uncompressed. */
const MEMBER = 1 << 20;
/** Members of a stream that are compressed at the same time: as many as Node has threads for them. */
const PARALLEL_MEMBERS = 4;

const gzipMember = promisify<Buffer, ZlibOptions, Buffer>(gzipBuffer);

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

/**
 * Compresses a stream as gzip members of equal parts, one behind another, which a reader takes as one
 * stream (RFC 1952, 2.2). So the parts are compressed in parallel.
 */
async function* gzip(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const members: Promise<Buffer>[] = [];
  let isEmpty = true;
  for await (const part of gathered(source, MEMBER)) {
    isEmpty = false;
    const member = gzipMember(part, GZIP);
    // The reader gets a failure when it comes to this member.
    member.catch(() => {});
    if (members.push(member) > PARALLEL_MEMBERS) yield await members.shift()!;
  }
  if (isEmpty) members.push(gzipMember(Buffer.alloc(0), GZIP));
  for (const member of members) yield await member;
}
