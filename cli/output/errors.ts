// Reports a failure: the message for the user, and the exit code.
import { codeOf } from '../../errors/index.js';

/** Docker's exit code for a failure of tsvm itself. */
export const FAILED = 125;

/** Docker's exit code for a Dockerfile that does not build. */
const BUILD_FAILED = 1;

/** Wrong usage of the command line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';

  /** @param command the command whose help explains the right usage: `tsvm run` */
  constructor(
    message: string,
    readonly command?: string,
  ) {
    super(message);
  }
}

/** Docker's exit code for the error that ended a command. */
export function exitCode(error: unknown): number {
  const code = codeOf(error);
  const signal = error instanceof Error && 'signal' in error ? error.signal : undefined;
  if (code === 'aborted' && typeof signal === 'number') return 128 + signal;
  if (code === 'not-found') return 127;
  if (code === 'cannot-invoke') return 126;
  if (error instanceof Error && error.name === 'BuildError') return BUILD_FAILED;
  return FAILED;
}

/** Names of errors whose message is for the user. Any other error is a bug in tsvm. */
const EXPECTED = new Set([
  'UsageError',
  'SandboxError',
  'ImageError',
  'MachineError',
  'KernelError',
  'CompareError',
  'BuildError',
  'ServiceError',
]);

/** One line for the user; for a bug in tsvm also the stack. */
export function describeError(error: unknown): { message: string; detail?: string } {
  if (!(error instanceof Error)) return { message: String(error) };
  if (EXPECTED.has(error.name)) return { message: error.message.trim().replace(/\s*\n\s*/g, ': ') };
  const message = `internal error: ${error.message}`;
  return error.stack === undefined ? { message } : { message, detail: error.stack };
}
