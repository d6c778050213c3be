// Processes by their ID alone: /proc may hide them.
import { hasCode } from '../../errors/index.js';

/** True unless the process has ended. */
export function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return !hasCode(error, 'ESRCH');
  }
}
