// What can go wrong in a build that is the user's to mend, and where in the Dockerfile it is.

export type BuildErrorCode =
  /** The Dockerfile, an option or the context is wrong. */
  | 'bad-dockerfile'
  | 'bad-option'
  | 'bad-context'
  /** A command of RUN failed. */
  | 'failed'
  /** A limit was exceeded: see limits.ts. */
  | 'too-large';

/** A place in a Dockerfile. Lines and columns count from 1. */
export interface Place {
  line: number;
  endLine: number;
  /** Of the first line. Undefined if the whole instruction is meant. */
  column?: number | undefined;
}

export class BuildError extends Error {
  override readonly name = 'BuildError';
  readonly code: BuildErrorCode;
  /** Undefined if it is about no instruction. */
  readonly place: Place | undefined;
  /** With `failed`: the command's exit code. */
  readonly exitCode: number | undefined;

  constructor(
    code: BuildErrorCode,
    message: string,
    { place, exitCode, cause }: { place?: Place | undefined; exitCode?: number; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.code = code;
    this.place = place;
    this.exitCode = exitCode;
  }
}

/** Lines around a place that are shown too. */
const AROUND = 2;
/** Lines of an instruction that are shown. */
const MAX_SHOWN = 10;

/** The lines of a place, with their numbers, a mark, and a caret below its column. */
export function excerpt(name: string, source: string, { line, endLine, column }: Place): string {
  const lines = source.split(/\r?\n/);
  const last = Math.min(endLine, line + MAX_SHOWN - 1);
  const from = Math.max(1, line - AROUND);
  const to = Math.min(lines.length, last + AROUND);
  const width = String(to).length;
  const shown: string[] = [];
  for (let at = from; at <= to; at++) {
    const mark = at >= line && at <= last ? '>>>' : '   ';
    shown.push(`${String(at).padStart(width + 2)} | ${mark} ${lines[at - 1]}`);
    if (at === line && column !== undefined) {
      shown.push(
        `${' '.repeat(width + 2)} |     ${(lines[at - 1] ?? '').slice(0, column - 1).replace(/[^\t]/g, ' ')}^`,
      );
    }
  }
  const rule = '-'.repeat(20);
  return [`${name}:${line}`, rule, ...shown, rule].join('\n');
}
