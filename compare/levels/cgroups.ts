// A cgroup of our own for a sandbox whose program makes cgroups where it runs. It keeps the limit of
// memory, and what the program leaves goes with it.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';

const ROOT = '/sys/fs/cgroup';
/** Enters the cgroups of $1, and becomes the command. */
const ENTER = 'for each in $1; do echo $$ > "$each/cgroup.procs"; done; shift; exec "$@"';
/** Removes the cgroups of $@, and ends what is in them, which may take the kernel a moment. */
const REMOVE = `turn=0
while [ $turn -lt 100 ]; do
  find "$@" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -KILL 2>/dev/null
  find "$@" -depth -type d -exec rmdir {} + 2>/dev/null
  left=
  for each; do [ ! -d "$each" ] || left=1; done
  [ -n "$left" ] || exit 0
  turn=$((turn + 1)); sleep 0.1
done
exit 1`;

/** The hierarchies of the host: one of version 2, or those of version 1 and perhaps one of version 2. */
export function hierarchies(): string[] {
  if (existsSync(join(ROOT, 'cgroup.controllers'))) return [ROOT];
  return readdirSync(ROOT)
    .map((name) => join(ROOT, name))
    .filter((path) => existsSync(join(path, 'cgroup.procs')));
}

const foldersOf = (id: string): string[] => hierarchies().map((path) => join(path, id));

/** @param memory bytes. Returns false if the host does not limit memory */
export function makeCgroups(id: string, memory: number): boolean {
  let limited = false;
  for (const folder of foldersOf(id)) {
    mkdirSync(folder);
    // A new cpuset of version 1 is empty.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) copy(join(folder, '..', file), join(folder, file));
    limited = ['memory.max', 'memory.limit_in_bytes'].some((file) => write(join(folder, file), memory)) || limited;
  }
  return limited;
}

function copy(from: string, to: string): void {
  if (existsSync(from) && existsSync(to)) writeFileSync(to, readFileSync(from));
}

function write(file: string, value: number): boolean {
  try {
    // Without O_CREAT: a hierarchy without the controller has no such file.
    writeFileSync(file, String(value), { flag: 'r+' });
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Words that run a command in the cgroups. */
export function inCgroups(id: string): readonly [program: string, ...words: string[]] {
  return ['sh', '-c', ENTER, 'sh', foldersOf(id).join(' ')];
}

/**
 * Words that run a command, and then remove the cgroups, and those in them.
 * @param command of a runtime that makes the cgroups, and has no record of them if it was killed as it did
 */
export function removeCgroups(
  id: string,
  command: readonly string[] = ['true'],
): readonly [program: string, ...words: string[]] {
  return ['sh', '-c', `folders=$1; shift; "$@"\nset -- $folders\n${REMOVE}`, 'sh', foldersOf(id).join(' '), ...command];
}
