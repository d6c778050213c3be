// -e and --env-file, by Docker's rules (docker/cli, opts/env.go and opts/file.go).
import { messageOf } from '../../errors/index.js';
import { readUserFile } from '../../user-files/index.js';
import { UsageError } from '../output/errors.js';

/** The longest line that Docker reads (bufio.MaxScanTokenSize). */
const MAX_LINE = 64 * 1024;

/**
 * One -e: `NAME=value`, or `NAME` for the value that `environment` has. A name that it lacks has
 * the value null: the variable is removed from the image's.
 * @throws UsageError
 */
export function parseEnv(text: string, environment: NodeJS.ProcessEnv): [name: string, value: string | null] {
  if (text === '' || text.startsWith('=')) throw new UsageError(`invalid environment variable: '${text}'`);
  const equals = text.indexOf('=');
  if (equals >= 0) return [text.slice(0, equals), text.slice(equals + 1)];
  return [text, environment[text] ?? null];
}

/**
 * The variables of an environment file. Each line is `NAME=value` or `NAME`, without quoting; `#`
 * starts a comment. `NAME` takes its value from `environment`, and is left out if it has none.
 * @throws UsageError
 */
export function parseEnvFile(
  content: Uint8Array,
  file: string,
  environment: NodeJS.ProcessEnv,
): [name: string, value: string][] {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    throw new UsageError(`env file ${file} is not UTF-8 text`);
  }
  const variables: [string, string][] = [];
  for (const [index, whole] of text.split('\n').entries()) {
    const fail = (why: string) => new UsageError(`env file ${file}, line ${index + 1}: ${why}`);
    if (whole.length > MAX_LINE) throw fail('the line is too long');
    const line = whole.replace(/\r$/, '').trimStart();
    if (line === '' || line.startsWith('#')) continue;
    const equals = line.indexOf('=');
    const name = equals < 0 ? line : line.slice(0, equals);
    if (name === '') throw fail('the variable has no name');
    if (/[ \t]/.test(name)) throw fail(`variable '${name}' contains whitespaces`);
    if (line.includes('\0')) throw fail('the line contains a NUL character');
    const value = equals < 0 ? environment[name] : line.slice(equals + 1);
    if (value !== undefined) variables.push([name, value]);
  }
  return variables;
}

/**
 * @param file path, `-` for standard input
 * @throws UsageError
 */
export function readEnvFile(file: string): [name: string, value: string][] {
  let content: Buffer;
  try {
    content = readUserFile(file, { stdin: true });
  } catch (error) {
    throw new UsageError(`cannot read env file ${file}: ${messageOf(error)}`);
  }
  return parseEnvFile(content, file, process.env);
}
