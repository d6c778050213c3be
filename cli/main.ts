// The command's process, from its first moment to its exit code. The machine process of a run takes longest to start, and
// so it, or the supervisor that starts it, is started before anything else is even loaded.
import { isatty } from 'node:tty';
import type { EarlyProcesses } from './commands/command.js';
import { FAILED } from './output/errors.js';

/**
 * Runs a command line and exits the process.
 *
 * @param argv the words after the program's name
 * @param version of tsvm
 */
export async function main(argv: readonly string[], version: string): Promise<never> {
  // A reader that went away (`tsvm ... | head`) is no reason for a stack trace.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  process.on('uncaughtException', (error) => {
    process.stderr.write(`tsvm: internal error: ${error.stack}\n`);
    process.exit(FAILED);
  });
  const terminals = [0, 1, 2].filter(isatty);
  const early = await startEarly(argv);
  const { runCommandLine } = await import('./program.js');
  const exitCode = await runCommandLine(argv, version, early);
  // Words that were wrong leave it unused.
  early.machine?.[Symbol.dispose]();
  early.supervisor?.[Symbol.dispose]();
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  // Node.js restores terminals when it exits, and aborts if it cannot: a terminal that hung up ends us as it ends others.
  if (!terminals.every(isatty)) process.kill(process.pid, 'SIGHUP');
  // What is still open, stdin above all, keeps nobody waiting.
  process.exit(exitCode);
}

/** The guess is right for words in their usual order, and a wrong one costs only time. */
async function startEarly([name, ...words]: readonly string[]): Promise<EarlyProcesses> {
  if (name === 'start' || (name === 'run' && looksSupervised(words))) {
    const { SupervisorProcess } = await import('../sandbox/supervision/supervisor-process.js');
    return { supervisor: new SupervisorProcess() };
  }
  if (name !== 'run') return {};
  const { MachineClient } = await import('../sandbox/machine/machine-client.js');
  return { machine: new MachineClient() };
}

/** The letters that the long options stand for. */
const LETTERS: Record<string, string> = { '--detach': 'd', '--interactive': 'i', '--tty': 't' };

/** Whether the words ask for `-d` or `-it`, which take a supervisor (run.ts). */
function looksSupervised(words: readonly string[]): boolean {
  const given = new Set<string>();
  let last = '';
  for (const word of words) {
    if (!word.startsWith('-')) {
      // The first may be an option's value, the second is the command.
      if (!last.startsWith('-')) break;
    } else if (word.startsWith('--')) given.add(LETTERS[word] ?? '');
    else for (const letter of word.slice(1)) given.add(letter);
    last = word;
  }
  return given.has('d') || (given.has('i') && given.has('t'));
}

function flush(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) resolve();
    else stream.write('', () => resolve());
  });
}
