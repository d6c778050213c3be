// The error type of this room.

/** What went wrong, for a program to act on. */
export type CompareErrorCode =
  /** No level has the name. */
  | 'unknown-level'
  /** A level does not work here. */
  | 'level'
  /** This program may not use the CPUs. */
  | 'pinning'
  /** The caller's command failed in a level. */
  | 'command'
  /** A report cannot be read or written. */
  | 'report';

/** The message is one line that can be shown to a user. */
export class CompareError extends Error {
  override readonly name = 'CompareError';

  constructor(
    readonly code: CompareErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
