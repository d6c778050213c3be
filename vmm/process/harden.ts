// What a machine process gives up before it does anything for a guest.
import * as libc from '../host/libc.js';

/**
 * Limits a process that holds guest memory and runs hostile code: no core dump, no other process of
 * the user reads its memory, and no set-uid program can be started.
 */
export function harden(): void {
  // The control socket reports the owner's death too, but not to a process that is stopped.
  libc.prctl(libc.PR_SET_PDEATHSIG, libc.SIGKILL, 0, 0, 0);
  // Node.js has a handler, which would have to return.
  libc.signal(libc.SIGUSR1, libc.SIG_IGN);
  // Likewise, for WebAssembly: with the filter, a fault would look like a system call that is not on the
  // list.
  for (const fault of [libc.SIGSEGV, libc.SIGBUS]) libc.signal(fault, libc.SIG_DFL);
  // The guest's processes have umasks of their own. This process makes files for them alone.
  process.umask(0);
  libc.setrlimit(libc.RLIMIT_CORE, new BigUint64Array(2));
  libc.prctl(libc.PR_SET_DUMPABLE, 0, 0, 0, 0);
  libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
