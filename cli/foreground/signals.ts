// Forwards the caller's signals to the process in the guest, as Docker does.
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { SandboxError } from '../../sandbox/running.js';
import type { Foreground } from './terminal.js';

const FORWARDED = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGTERM', 'SIGCONT'] as const;
/** Signals that end a run whose process has not started yet. */
const ENDING: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'];
/** The number of SIGINT and SIGTERM without any output of the process that ends the run. */
const PATIENCE = 3;
/** Milliseconds that a process has to exit by itself when its terminal is gone. */
const HANGUP_GRACE = 2_000;

/** The run was ended by a signal. */
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
 * Forwards this process's signals until disposed. The third SIGINT or SIGTERM without effect ends
 * the machine. So does the loss of the terminal, from which the user could no longer end it.
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
    // Output since the last signal may be a reaction to it.
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
 * Until disposed, the first signal that would end this process aborts an operation instead. The
 * second one ends it.
 */
export function abortOnSignal(): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  const stop = () => {
    for (const name of ENDING) process.off(name, abort);
  };
  const abort = (name: NodeJS.Signals) => {
    stop();
    controller.abort(new SignalError(constants.signals[name], `ended by ${name}`));
  };
  for (const name of ENDING) process.on(name, abort);
  return { signal: controller.signal, [Symbol.dispose]: stop };
}

/**
 * Makes something that is not to be left behind, and takes charge of it. A signal ends this process
 * between two turns of the event loop alone, until the turn that made it has called `take`. So what
 * `take` does before it waits is done, its own handlers of signals among it.
 */
export async function makeAndTake<Made, Taken>(
  make: () => Promise<Made>,
  take: (made: Made) => Promise<Taken>,
): Promise<Taken> {
  const end = (name: NodeJS.Signals) => {
    stop();
    process.kill(process.pid, name);
  };
  const stop = () => {
    for (const name of ENDING) process.off(name, end);
  };
  for (const name of ENDING) process.on(name, end);
  let taken: Promise<Taken>;
  try {
    taken = take(await make());
  } finally {
    stop();
  }
  return await taken;
}

/** Returns true if this process has a controlling terminal (tty(4)). */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}
