// The one error type of this room: every failure a caller can meet has a code to act on and one
// clear line to show.

import { codeOf, messageOf } from '../errors/index.js';

/** What went wrong, for a program to act on. */
export type ImageErrorCode =
  /** The text is not an image reference. */
  | 'bad-reference'
  /** A change to an image's config is not an instruction. */
  | 'bad-change'
  /** A well-formed reference that names no image. */
  | 'unknown-image'
  /** The bytes are not an image. */
  | 'not-an-image'
  /** The bytes claim to be an image, and are damaged or hostile. */
  | 'corrupt'
  /** A valid image that tsvm cannot run. */
  | 'unsupported'
  /** A limit was exceeded. See limits.ts. */
  | 'too-large'
  /** A decompressor is not installed. */
  | 'missing-program'
  /** A registry cannot be reached, or its answer makes no sense. */
  | 'network'
  /** A registry wants other credentials. */
  | 'unauthorized'
  /** A file of settings or credentials cannot be used. */
  | 'bad-settings'
  /** The change would break something that uses the image. */
  | 'in-use'
  /** The host's file system has no space left. */
  | 'no-space'
  /** The host's file system denies the access. */
  | 'no-permission'
  /** Any other failure of the host's file system, or the end of a decompressor by a signal. */
  | 'io';

const MAX_MESSAGE = 1000;

/**
 * An image could not be read, stored or removed. The message is one line, fit to be shown as it is.
 */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly code: ImageErrorCode;

  constructor(code: ImageErrorCode, message: string, options?: { cause?: unknown }) {
    super(shown(message), options);
    this.code = code;
  }
}

/**
 * Messages quote hostile input: no control characters reach a terminal, and the length is bounded.
 */
function shown(message: string): string {
  const cut = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}...` : message;
  return cut.replace(/\p{C}|\p{Zl}|\p{Zp}/gu, (character) =>
    JSON.stringify(character)
      .slice(1, -1)
      .replace(/[^ -~]/g, '?'),
  );
}

/** Errors of the host's file system, and the text of each as in strerror(3). */
const FILE_SYSTEM_ERRORS: Record<string, [code: ImageErrorCode, words: string]> = {
  ENOSPC: ['no-space', 'no space left on device'],
  EDQUOT: ['no-space', 'disk quota exceeded'],
  EFBIG: ['no-space', 'file too large for this file system'],
  EACCES: ['no-permission', 'permission denied'],
  EPERM: ['no-permission', 'operation not permitted'],
  EROFS: ['no-permission', 'read-only file system'],
};

/**
 * Turns any error into an `ImageError` that names the operation that failed.
 *
 * @param doing the failed operation, to be followed by a colon: `cannot import foo.tar`
 */
export function toImageError(error: unknown, doing: string): ImageError {
  if (error instanceof ImageError) return error;
  const known = FILE_SYSTEM_ERRORS[codeOf(error) ?? ''];
  if (known) {
    const [code, words] = known;
    return new ImageError(code, `${doing}: ${words}${pathOf(error)}`, { cause: error });
  }
  return new ImageError('io', `${doing}: ${messageOf(error)}`, { cause: error });
}

/** The path that a failed system call was given, in parentheses, if the error has one. */
function pathOf(error: unknown): string {
  return error instanceof Error && 'path' in error && typeof error.path === 'string' ? ` (${error.path})` : '';
}
