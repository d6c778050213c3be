// What the user is told when something fails, and the exit code that says so to a program.

/** tsvm itself failed: Docker's code for it. */
export const FAILED = 125;

/** The user's words are wrong: the message, and where the right ones are. */
export class UsageError extends Error {
  override readonly name = 'UsageError';

  /** @param command the command whose help explains it: `tsvm run` */
  constructor(
    message: string,
    readonly command?: string,
  ) {
    super(message);
  }
}

/** Docker's exit code for an error that ended a command. */
export function exitCode(error: unknown): number {
  const { code, signal } = error as { code?: unknown; signal?: unknown };
  if (code === 'aborted' && typeof signal === 'number') return 128 + signal;
  if (code === 'not-found') return 127;
  if (code === 'cannot-invoke') return 126;
  return FAILED;
}

/** Errors whose message was written for the user; any other is a defect of tsvm. */
const EXPECTED = new Set(['UsageError', 'SandboxError', 'ImageError', 'MachineError', 'KernelError']);

/** One line for the user, and for a defect also the stack. */
export function describeError(error: unknown): { message: string; detail?: string } {
  if (!(error instanceof Error)) return { message: String(error) };
  if (EXPECTED.has(error.name)) return { message: error.message.trim().replace(/\s*\n\s*/g, ': ') };
  const message = `internal error: ${error.message}`;
  return error.stack === undefined ? { message } : { message, detail: error.stack };
}
