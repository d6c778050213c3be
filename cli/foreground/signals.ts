// The caller's signals reach the process in the guest, as Docker's do.
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { SandboxError } from '../../sandbox/internal.js';
import type { Foreground } from './terminal.js';

const FORWARDED = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGTERM', 'SIGCONT'] as const;
/** They end a run that has no process yet. */
const ENDING: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'];
/** A process that shows no reaction to this many SIGINT or SIGTERM is not asked again. */
const PATIENCE = 3;
/** Milliseconds in which a process whose terminal is gone may end by itself. */
const HANGUP_GRACE = 2_000;

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

/**
 * Forwards this process's signals until disposed of. The third SIGINT or SIGTERM without effect ends the machine, and so
 * does the end of the terminal: nobody could end it from there any more.
 */
export function forwardSignals(run: Foreground): Disposable {
  const hadTerminal = hasTerminal();
  let hangup: NodeJS.Timeout | undefined;
  let started = false;
  let asked = 0;
  let output = 0;
  run.started.then(
    () => {
      started = true;
    },
    () => {},
  );
  const listen = (name: NodeJS.Signals) => {
    const signal = constants.signals[name];
    if (!started) {
      if (ENDING.includes(name)) run.abort(new SignalError(signal, `${name} before the process was started`));
      return;
    }
    run.signal(signal);
    if (name === 'SIGHUP' && hadTerminal && !hasTerminal()) {
      hangup ??= setTimeout(() => run.abort(new SignalError(signal, 'the terminal is gone')), HANGUP_GRACE);
    }
    if (name !== 'SIGINT' && name !== 'SIGTERM') return;
    // What is written since the last one may be the reaction to it.
    if (run.outputChunks !== output) asked = 0;
    output = run.outputChunks;
    if (++asked === PATIENCE) run.abort(new SignalError(signal, `got ${PATIENCE} SIGTERM/SIGINTs, forcefully exiting`));
  };
  for (const name of FORWARDED) process.on(name, listen);
  return {
    [Symbol.dispose]: () => {
      clearTimeout(hangup);
      for (const name of FORWARDED) process.off(name, listen);
    },
  };
}

/**
 * Signals that end this process do so as ever until disposed of, but between two turns of the event loop: what is made
 * and taken charge of in one turn is never left half way.
 */
export function endBetweenTurns(): Disposable {
  const stop = () => {
    for (const name of ENDING) process.off(name, end);
  };
  const end = (name: NodeJS.Signals) => {
    stop();
    process.kill(process.pid, name);
  };
  for (const name of ENDING) process.on(name, end);
  return { [Symbol.dispose]: stop };
}

/** Whether this process has a controlling terminal (tty(4)). */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
