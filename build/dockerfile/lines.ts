// From the text of a Dockerfile to its instructions, each one line: directives, comments, continued
// lines and heredocs (Dockerfile reference, "Format", "Parser directives", "Here-Documents").
import { BuildError, type Place } from '../build-error.js';
import { MAX_DOCKERFILE_BYTES, MAX_INSTRUCTIONS } from '../limits.js';
import { ESCAPES, type Escape, removeQuotes, splitWords } from './words.js';

/** The contents of a file that stands in the Dockerfile. */
export interface Heredoc {
  name: string;
  contents: string;
  /** If false, the name was quoted: variables in the contents are not expanded. */
  expands: boolean;
}

/** An instruction, its continued lines joined. */
export interface Line {
  /** In upper case. */
  keyword: string;
  /** The keyword as it is written. */
  written: string;
  /** What follows the keyword, trimmed. */
  text: string;
  heredocs: Heredoc[];
  /**
   * The comments above it, without `#`, since the instruction or the empty comment before. An empty
   * line among them is ''. Parser directives are not among them.
   */
  comments: string[];
  place: Place;
}

export interface Lines {
  escapeToken: Escape;
  lines: Line[];
  /** The value of the parser directive `check`. */
  check: string | undefined;
  /** The last lines of instructions that have an empty line in them. */
  emptyContinuations: Place[];
}

const HAS_HEREDOCS = /^(RUN|COPY|ADD)$/;
/** Does not trim the value: backtracking would cost the square of the number of spaces. */
const DIRECTIVE = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=(.+)$/s;
/** A word that begins a heredoc: a file descriptor, `<<`, `-` to remove tabs, and a name. */
const HEREDOC = /^(\d*)<<(-?)([^<]*)$/;

/**
 * Splits a Dockerfile into its instructions.
 * @throws BuildError `bad-dockerfile`, `too-large`
 */
export function splitLines(source: string): Lines {
  if (Buffer.byteLength(source) > MAX_DOCKERFILE_BYTES) {
    throw new BuildError('too-large', `the Dockerfile is larger than ${MAX_DOCKERFILE_BYTES} bytes`);
  }
  const physical = source
    .replace(/^\ufeff/, '')
    .split('\n')
    .map((line) => line.replace(/\r$/, ''));
  // What follows the last newline is no line.
  if (physical.at(-1) === '') physical.pop();
  const { escapeToken, check, count } = readDirectives(physical);
  const lines: Line[] = [];
  const emptyContinuations: Place[] = [];
  let comments: string[] = [];
  for (let at = count; at < physical.length; ) {
    const start = at;
    const first = physical[at++]!.replace(/^[\t\v\f ]+/, '');
    if (isComment(first)) {
      const comment = first.slice(1).trim();
      if (comment === '') comments = [];
      else comments.push(comment);
      continue;
    }
    let [text, ends] = joint(first, escapeToken);
    if (ends && text === '') {
      comments.push('');
      continue;
    }
    let hasEmpty = false;
    while (!ends && at < physical.length) {
      const next = physical[at++]!;
      if (isComment(next)) continue;
      if (next.trim() === '') {
        hasEmpty = true;
        continue;
      }
      const [part, isLast] = joint(next, escapeToken);
      text += part;
      ends = isLast;
    }
    if (text.trim() === '') continue;
    const place: Place = { line: start + 1, endLine: at };
    if (hasEmpty) emptyContinuations.push({ line: at, endLine: at });
    const [, written = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(text.trim()) ?? [];
    const keyword = written.toUpperCase();
    const line: Line = { keyword, written, text: rest.trim(), heredocs: [], comments, place };
    comments = [];
    for (const begun of heredocsIn(line, escapeToken)) {
      at = readHeredoc(physical, at, begun, line);
      place.endLine = at;
    }
    lines.push(line);
    if (lines.length > MAX_INSTRUCTIONS) {
      throw new BuildError('too-large', `the Dockerfile has more than ${MAX_INSTRUCTIONS} instructions`, { place });
    }
  }
  if (lines.length === 0) throw new BuildError('bad-dockerfile', 'file with no instructions');
  return { escapeToken, lines, check, emptyContinuations };
}

interface Directives {
  escapeToken: Escape;
  check: string | undefined;
  /** Lines that they take. */
  count: number;
}

/** Directives come first: a comment, an empty line or an instruction ends them. */
function readDirectives(physical: readonly string[]): Directives {
  let escapeToken: Escape = '\\';
  let check: string | undefined;
  const seen = new Set<string>();
  for (const [index, line] of physical.entries()) {
    const [, name = '', written = ''] = DIRECTIVE.exec(line.trim()) ?? [];
    const value = written.trim();
    if (value === '') break;
    const place = { line: index + 1, endLine: index + 1 };
    const key = name.toLowerCase();
    if (!['escape', 'syntax', 'check'].includes(key)) break;
    if (seen.has(key))
      throw new BuildError('bad-dockerfile', `only one ${key} parser directive can be used`, { place });
    seen.add(key);
    if (key === 'check') check = value;
    if (key !== 'escape') continue;
    const found = ESCAPES.find((character) => character === value);
    if (found === undefined) {
      throw new BuildError('bad-dockerfile', `invalid escape token '${value}' does not match \` or \\`, { place });
    }
    escapeToken = found;
  }
  return { escapeToken, check, count: seen.size };
}

function isComment(line: string): boolean {
  return line.trimStart().startsWith('#');
}

/** A line without the escape character that continues it. A doubled one continues nothing. */
function joint(line: string, escapeToken: Escape): [text: string, ends: boolean] {
  const trimmed = line.replace(/[ \t]+$/, '');
  if (!trimmed.endsWith(escapeToken) || trimmed.at(-2) === escapeToken) return [line, true];
  return [trimmed.slice(0, -1), false];
}

interface Begun extends Omit<Heredoc, 'contents'> {
  removesTabs: boolean;
}

function heredocsIn({ keyword, text }: Line, escapeToken: Escape): Begun[] {
  const instruction = keyword === 'ONBUILD' ? (/^\S+/.exec(text)?.[0].toUpperCase() ?? '') : keyword;
  if (!HAS_HEREDOCS.test(instruction) || !text.includes('<<')) return [];
  const begun: Begun[] = [];
  for (const word of splitWords(text, escapeToken)) {
    const [, descriptor = '', tabs = '', name = ''] = HEREDOC.exec(word) ?? [];
    if (name === '' || (descriptor !== '' && descriptor !== '0')) continue;
    const unquoted = removeQuotes(name, escapeToken);
    begun.push({ name: unquoted, expands: unquoted === name, removesTabs: tabs !== '' });
  }
  return begun;
}

/** Reads the contents of a heredoc from line `at`. Returns the line after its end. */
function readHeredoc(physical: readonly string[], at: number, { removesTabs, ...begun }: Begun, line: Line): number {
  const contents: string[] = [];
  for (let next = at; next < physical.length; next++) {
    const raw = physical[next]!;
    const text = removesTabs ? raw.replace(/^\t+/, '') : raw;
    if (text === begun.name) {
      line.heredocs.push({ ...begun, contents: contents.map((each) => `${each}\n`).join('') });
      return next + 1;
    }
    contents.push(text);
  }
  throw new BuildError('bad-dockerfile', `unterminated heredoc: no line is ${begun.name}`, { place: line.place });
}
