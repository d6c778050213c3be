// A build whose context comes as a stream, which is an archive or the text of a Dockerfile alone.
// The first bytes tell, as with Docker: those of a tar, or of a format that compresses one.
import { BLOCK_SIZE, beginsTar, compressionOf, peek } from '../../images/build.js';
import type { Home } from '../../sandbox/index.js';
import { BuildError } from '../build-error.js';
import { MAX_DOCKERFILE_BYTES } from '../limits.js';
import { ArchiveContext } from './archive-context.js';

/**
 * @returns the text of a Dockerfile, or a context, which the caller disposes of
 * @throws BuildError `bad-context`, `too-large`; ImageError; errors of `bytes`
 */
export async function readStream(home: Home, bytes: AsyncIterable<Buffer>): Promise<ArchiveContext | string> {
  const { start, rest } = await peek(bytes, BLOCK_SIZE);
  if (compressionOf(start) !== 'none' || beginsTar(start)) return await ArchiveContext.open(home, rest);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of rest) {
    length += chunk.length;
    if (length > MAX_DOCKERFILE_BYTES) {
      throw new BuildError('too-large', `the Dockerfile exceeds ${MAX_DOCKERFILE_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
