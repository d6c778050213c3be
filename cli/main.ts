// The process of the command, from start to exit code. The machine process takes longest to start,
// so it (or the supervisor that starts it) is spawned before the rest of the program is loaded.
import '../libc/no-debugger.js';

import { isatty } from 'node:tty';
import type { EarlyProcesses } from './commands/command.js';
import { FAILED } from './output/errors.js';
import { endWhenUnread } from './output/reader.js';

/**
 * Runs a command line and exits the process.
 *
 * @param argv the arguments, without the program's name
 * @param version the version of tsvm
 */
export async function main(argv: readonly string[], version: string): Promise<never> {
  endWhenUnread();
  process.on('uncaughtException', (error) => {
    process.stderr.write(`tsvm: internal error: ${error.stack}\n`);
    process.exit(FAILED);
  });
  // Node.js would exit with 0.
  process.once('beforeExit', () => {
    process.stderr.write('tsvm: internal error: what the command waits for never comes\n');
    process.exit(FAILED);
  });
  const terminals = [0, 1, 2].filter(isatty);
  const early = await startEarly(argv);
  const { runCommandLine } = await import('./program.js');
  const exitCode = await runCommandLine(argv, version, early);
  // A command line that failed early has not used them.
  early.machine?.[Symbol.dispose]();
  early.supervisor?.[Symbol.dispose]();
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  // Node.js restores terminals when it exits, and aborts if it cannot. If a terminal hung up, exit
  // by SIGHUP instead, as other processes do.
  if (!terminals.every(isatty)) process.kill(process.pid, 'SIGHUP');
  // Open handles, stdin above all, must not keep the process alive.
  process.exit(exitCode);
}

/** Guesses from the arguments which process the command needs. A wrong guess costs only time. */
async function startEarly([name, ...words]: readonly string[]): Promise<EarlyProcesses> {
  if (name === 'start' || (name === 'run' && looksSupervised(words))) {
    const { SupervisorProcess } = await import('../sandbox/supervision/supervisor-process.js');
    return { supervisor: new SupervisorProcess() };
  }
  if (name !== 'run') return {};
  const { MachineClient } = await import('../sandbox/machine/machine-client.js');
  return { machine: new MachineClient({ shares: words.some(isShare) }) };
}

/** Returns true for an option that shares a folder of the host. */
function isShare(word: string): boolean {
  return /^(-v|--volume|--mount)/.test(word);
}

/** The short forms of the long options that matter here. */
const LETTERS: Record<string, string> = { '--detach': 'd', '--interactive': 'i', '--tty': 't' };

/** Returns true if the arguments contain `-d` or `-it`, which need a supervisor (run.ts). */
function looksSupervised(words: readonly string[]): boolean {
  const given = new Set<string>();
  let last = '';
  for (const word of words) {
    if (!word.startsWith('-')) {
      // A word after an option may be its value. The next one is the image: the options end there.
      if (!last.startsWith('-')) break;
    } else if (word.startsWith('--')) given.add(LETTERS[word] ?? '');
    else for (const letter of word.slice(1)) given.add(letter);
    last = word;
  }
  return given.has('d') || (given.has('i') && given.has('t'));
}

function flush(stream: NodeJS.WriteStream): Promise<void> {
  // A command that failed early holds its output back still.
  while (stream.writableCorked > 0) stream.uncork();
  return new Promise((resolve) => {
    if (stream.destroyed) resolve();
    else stream.write('', () => resolve());
  });
}
