// The command's process, from its first moment to its exit code. The machine process of a run takes longest to start, and
// so is started before anything else is even loaded.
import { isatty } from 'node:tty';
import type { Context } from './command.js';
import { FAILED } from './failure.js';

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
  const context: Context = { version, options: {}, exitCode: 0 };
  if (argv[0] === 'run') {
    const { MachineProcess } = await import('../sandbox/machine-process.js');
    context.machine = new MachineProcess();
  }
  const { runCommandLine } = await import('./program.js');
  await runCommandLine(argv, context);
  // Words that were wrong leave it unused.
  context.machine?.[Symbol.dispose]();
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  // Node.js restores terminals when it exits, and aborts if it cannot: a terminal that hung up ends us as it ends others.
  if (!terminals.every(isatty)) process.kill(process.pid, 'SIGHUP');
  // What is still open, stdin above all, keeps nobody waiting.
  process.exit(context.exitCode);
}

function flush(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) resolve();
    else stream.write('', () => resolve());
  });
}
