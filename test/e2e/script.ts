// Shell scripts on a machine: many commands in one call, which takes seconds in the lab.
import { expect } from 'vitest';
import { type Machine, type RunOptions, run, TSVM } from './machine.js';

/**
 * Runs a shell script in which `tsvm` is a command, and `lines NAME N` waits until the log of a
 * container has more than N entries, without a command for each look at it. Returns its output.
 */
export async function script(machine: Machine, text: string, options: RunOptions = {}): Promise<string> {
  const env = { TSVM, XDG_RUNTIME_DIR: '', ...options.env };
  const prelude = `
    tsvm() { "$TSVM" "$@"; }
    lines() { log=$(tsvm inspect -f '{{.LogPath}}' $1); until test $(cat $log 2> /dev/null | wc -l) -gt $2; do sleep 0.2; done; }
    trap 'echo "failed: $BASH_COMMAND" >&2' ERR
    trap 'test $? = 0 || tsvm inspect -f "{{.Name}} {{json .State}}" $(tsvm ps -aq) >&2' EXIT
    set -e
  `;
  const { code, stdout, stderr } = await run(machine, ['bash', '-c', prelude + text], { ...options, env });
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** Text as one word of a shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
