// The faults of an archive that a build reads: each is one line for the user.
import { ImageError, MAX_EXPANSION_BYTES, MAX_EXPANSION_RATIO } from '../../images/build.js';
import { BuildError } from '../build-error.js';

/** Faults of an archive, not of the host. */
const FAULTS: readonly ImageError['code'][] = ['corrupt', 'too-large', 'unsupported', 'not-an-image'];

/**
 * The error of a build for a damaged or hostile archive. Any other error stays what it is.
 *
 * @param doing `cannot unpack x.tar`
 */
export function archiveFault(doing: string, cause: unknown): unknown {
  if (!(cause instanceof ImageError) || !FAULTS.includes(cause.code)) return cause;
  return new BuildError('bad-context', `${doing}: ${cause.message}`, { cause });
}

/**
 * Bounds the files of an archive by its size: holes of sparse files are written as zeros.
 *
 * @param size bytes of the files so far, with their holes
 * @param length bytes of the archive, as it came
 * @throws BuildError `too-large`
 */
export function checkExpansion(doing: string, size: number, length: number): void {
  if (size <= MAX_EXPANSION_BYTES || size <= length * MAX_EXPANSION_RATIO) return;
  throw new BuildError('too-large', `${doing}: its files expand to more than ${MAX_EXPANSION_RATIO} times its size`);
}
