// The command line of RUN: its forms, and what a heredoc in it means (Dockerfile reference,
// "Here-Documents").
import { BuildError } from '../build-error.js';
import type { RunInstruction } from '../dockerfile/instruction.js';

export interface RunCommand {
  argv: string[];
  /** For the progress. */
  shown: string;
}

/**
 * A heredoc alone is a script: of the shell, or of the program that its first line names. Otherwise
 * the shell reads the heredocs.
 * @throws BuildError `bad-dockerfile`
 */
export function runCommand({ command, heredocs }: RunInstruction, shell: readonly string[]): RunCommand {
  if (command.form === 'exec') {
    if (command.argv.length === 0) throw new BuildError('bad-dockerfile', 'RUN requires at least one argument');
    return { argv: command.argv, shown: JSON.stringify(command.argv) };
  }
  const { text } = command;
  const [only] = heredocs;
  if (only !== undefined && heredocs.length === 1 && /^0?<<-?\S+$/.test(text)) {
    const [line = ''] = only.contents.split('\n', 1);
    const shown = `${text} (${line.slice(0, 60)}...)`;
    if (!line.startsWith('#!')) return { argv: [...shell, only.contents], shown };
    // The shell writes the script to a file of its own, which is gone before the layer is made.
    const script = 'f=$(mktemp) && printf %s "$1" > "$f" && chmod 0755 "$f" && { "$f"; c=$?; rm -f "$f"; exit $c; }';
    return { argv: ['/bin/sh', '-c', script, 'heredoc', only.contents], shown };
  }
  const whole = [text, ...heredocs.map(({ name, contents }) => contents + name)].join('\n');
  return { argv: [...shell, whole], shown: text };
}

/** The variables of a command: ENV before ARG. */
export function exportsFor(
  env: ReadonlyMap<string, string>,
  args: readonly (readonly [string, string])[],
  proxies: readonly (readonly [string, string])[],
): Record<string, string> {
  return {
    ...Object.fromEntries(proxies),
    ...Object.fromEntries(args),
    ...Object.fromEntries(env),
  };
}
