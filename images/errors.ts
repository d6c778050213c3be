// The one error type of this room: every failure a caller can meet has a code to act on and one
// clear line to show.

import { codeOf, messageOf } from '../errors/index.js';

/**
 * What went wrong, for a program to act on:
 * `bad-reference` the text is not an image reference; `bad-change` a change to an image's config is not an instruction; `unknown-image` a well-formed reference that names nothing;
 * `not-an-image` the bytes are something else than an image; `corrupt` they claim to be one and are damaged or
 * hostile; `unsupported` a valid image that tsvm cannot run; `too-large` a limit was exceeded; `missing-program` a
 * decompressor is not installed; `network` a registry cannot be reached or makes no sense; `unauthorized` it wants other
 * credentials; `bad-settings` a file of settings or credentials cannot be used; `in-use` the change would break something else; `no-space`, `no-permission`, `io` the
 * host's file system said no.
 */
export type ImageErrorCode =
  | 'bad-reference'
  | 'bad-change'
  | 'unknown-image'
  | 'not-an-image'
  | 'corrupt'
  | 'unsupported'
  | 'too-large'
  | 'missing-program'
  | 'network'
  | 'unauthorized'
  | 'bad-settings'
  | 'in-use'
  | 'no-space'
  | 'no-permission'
  | 'io';

const MAX_MESSAGE = 1000;

/** An image could not be read, stored or removed. The message is one line, fit to be shown as it is. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly code: ImageErrorCode;

  constructor(code: ImageErrorCode, message: string, options?: { cause?: unknown }) {
    super(shown(message), options);
    this.code = code;
  }
}

/** Strangers' words are in messages: none of them moves a terminal's cursor or fills its screen. */
function shown(message: string): string {
  const cut = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}...` : message;
  return cut.replace(/\p{C}|\p{Zl}|\p{Zp}/gu, (character) =>
    JSON.stringify(character)
      .slice(1, -1)
      .replace(/[^ -~]/g, '?'),
  );
}

/** What the host's file system says no with, in the words of strerror(3). */
const FILE_SYSTEM_ERRORS: Record<string, [code: ImageErrorCode, words: string]> = {
  ENOSPC: ['no-space', 'no space left on device'],
  EDQUOT: ['no-space', 'disk quota exceeded'],
  EFBIG: ['no-space', 'file too large for this file system'],
  EACCES: ['no-permission', 'permission denied'],
  EPERM: ['no-permission', 'operation not permitted'],
  EROFS: ['no-permission', 'read-only file system'],
};

/**
 * Turns any failure into an `ImageError` that says what was being done.
 *
 * @param doing what was attempted, as a clause that reads well before a colon: `cannot import foo.tar`
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
