// Shell scripts on a machine: many commands in one call, which takes seconds in the lab.
import { expect } from 'vitest';
import { type Machine, type RunOptions, run, TSVM } from './machine.js';

/**
 * Runs a shell script and returns its output. Functions of the script, which look at a container without
 * a command for each look:
 * - `tsvm` is the command.
 * - `folder_of NAME` sets `folder` to the folder of a container.
 * - `lines NAME N` waits until the log has more than N entries.
 * - `count NAME` prints their number, and `said NAME` the text of each.
 */
export async function script(machine: Machine, text: string, options: RunOptions = {}): Promise<string> {
  const env = { TSVM, XDG_RUNTIME_DIR: '', ...options.env };
  const prelude = `
    tsvm() { "$TSVM" "$@"; }
    declare -A folders
    # A name may be given again, once the folder of the container before is gone.
    folder_of() {
      test -d "\${folders[$1]}" || folders[$1]=$(dirname $(tsvm inspect -f '{{.LogPath}}' $1))
      folder=\${folders[$1]}
    }
    lines() { folder_of $1; until test $(cat $folder/log.json 2> /dev/null | wc -l) -gt $2; do sleep 0.5; done; }
    count() { folder_of $1; wc -l < $folder/log.json; }
    said() { folder_of $1; sed 's/.*"log":"//; s/\\n".*//' $folder/log.json; }
    trap 'echo "failed: $BASH_COMMAND" >&2' ERR
    trap 'test $? = 0 || tsvm inspect -f "{{.Name}} {{json .State}}" $(tsvm ps -aq) >&2' EXIT
    set -e
  `;
  const { code, stdout, stderr } = await run(machine, ['bash', '-c', prelude + text], { ...options, env });
  expect({ code, stderr }, stdout + stderr).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** Text as one word of a shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
