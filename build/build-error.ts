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

/** Characters of a line that are shown. */
const MAX_WIDTH = 500;

/**
 * The lines of a place, with their numbers, a mark, and a caret below its column.
 * @param source the text, or its lines
 */
export function excerpt(name: string, source: string | readonly string[], { line, endLine, column }: Place): string {
  const lines = typeof source === 'string' ? linesOf(source) : source;
  const last = Math.min(endLine, line + MAX_SHOWN - 1);
  const from = Math.max(1, line - AROUND);
  const to = Math.min(lines.length, last + AROUND);
  const width = String(to).length;
  const shown: string[] = [];
  for (let at = from; at <= to; at++) {
    const mark = at >= line && at <= last ? '>>>' : '   ';
    const text = lines[at - 1] ?? '';
    const cut = text.length > MAX_WIDTH ? `${text.slice(0, MAX_WIDTH)}...` : text;
    shown.push(`${String(at).padStart(width + 2)} | ${mark} ${cut}`);
    if (at === line && column !== undefined && column <= MAX_WIDTH) {
      shown.push(`${' '.repeat(width + 2)} |     ${text.slice(0, column - 1).replace(/[^\t]/g, ' ')}^`);
    }
  }
  const rule = '-'.repeat(20);
  return [`${name}:${line}`, rule, ...shown, rule].join('\n');
}

/** The lines of a Dockerfile, for many excerpts of it. */
export function linesOf(source: string): string[] {
  return source.split(/\r?\n/);
}
