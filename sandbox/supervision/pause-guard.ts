// Lets a paused machine's processes run again if its supervisor is killed, or the machine is. The
// kernel then kills them, but not one that has changed its user, which clears its parent-death signal
// (prctl(2)): it ends by itself, at the end of its control socket, and only if it runs. A stopped one
// would hold the container's published ports for ever.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Log } from '../log.js';

/** Continues the process groups of the arguments at the end of stdin. */
const SCRIPT = 'read -r _; for group; do kill -s CONT -- "-$group"; done';

export class PauseGuard {
  readonly #shell: ChildProcess;

  /** @param groups of the processes that are about to be stopped */
  constructor(groups: readonly number[], log: Log) {
    // In a session of its own: a signal for the supervisor's process group does not end it.
    this.#shell = spawn('/bin/sh', ['-c', SCRIPT, 'sh', ...groups.map(String)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#shell.on('error', (error) => log.warn(`nothing guards the paused container: ${error.message}`));
    // The shell is gone already.
    this.#shell.stdin?.on('error', () => {});
    this.#shell.unref();
  }

  /** Continues the processes, as the end of this process does. */
  release(): void {
    this.#shell.stdin?.end();
  }

  /** The processes run again already. */
  cancel(): void {
    this.#shell.kill('SIGKILL');
  }
}
