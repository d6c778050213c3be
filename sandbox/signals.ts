// The caller's signals reach the process in the guest, as Docker's do.
import { constants } from 'node:os';
import { SandboxError } from './errors.js';
import type { ContainerRun } from './run.js';

const FORWARDED = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGTERM', 'SIGCONT'] as const;
/** They end a run that has no process yet. */
const ENDING: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'];
/** A process that shows no reaction to this many SIGINT or SIGTERM is not asked again. */
const PATIENCE = 3;

/** A signal ended the run. */
export class SignalError extends SandboxError {
  constructor(
    /** 1 to 64. */
    readonly signal: number,
    message: string,
  ) {
    super('aborted', message);
  }
}

/** Forwards this process's signals until disposed of. The third SIGINT or SIGTERM without effect ends the machine. */
export function forwardSignals(run: ContainerRun): Disposable {
  let started = false;
  let asked = 0;
  let output = 0;
  run.started.then(() => {
    started = true;
  });
  const listen = (name: NodeJS.Signals) => {
    const signal = constants.signals[name];
    if (!started) {
      if (ENDING.includes(name)) run.abort(new SignalError(signal, `${name} before the process was started`));
      return;
    }
    run.signal(signal);
    if (name !== 'SIGINT' && name !== 'SIGTERM') return;
    // What is written since the last one may be the reaction to it.
    if (run.outputChunks !== output) asked = 0;
    output = run.outputChunks;
    if (++asked === PATIENCE) run.abort(new SignalError(signal, `got ${PATIENCE} SIGTERM/SIGINTs, forcefully exiting`));
  };
  for (const name of FORWARDED) process.on(name, listen);
  return {
    [Symbol.dispose]: () => {
      for (const name of FORWARDED) process.off(name, listen);
    },
  };
}
