// Prompts for the user, on stderr.
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { UsageError } from './errors.js';

/**
 * Prints a question and reads one line.
 *
 * @param hidden does not echo the input
 * @throws UsageError if the input ends before a line
 */
export function ask(question: string, { hidden = false } = {}): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: hidden ? nowhere : process.stderr, terminal: true });
  return new Promise((resolve, reject) => {
    lines.on('line', (answer) => {
      resolve(answer);
      lines.close();
    });
    lines.on('SIGINT', () => {
      lines.close();
      process.stderr.write('\n');
      process.kill(process.pid, 'SIGINT');
    });
    lines.on('close', () => {
      if (hidden) process.stderr.write('\n');
      reject(new UsageError('no answer was given'));
    });
    if (hidden) process.stderr.write(question);
    else lines.setPrompt(question);
    if (!hidden) lines.prompt();
  });
}

/** Prints a warning and reads a line of stdin. Resolves to true if the answer is yes. */
export async function confirmed(warning: string): Promise<boolean> {
  process.stderr.write(`WARNING! ${warning}\nAre you sure you want to continue? [y/N] `);
  for await (const line of createInterface({ input: process.stdin })) return /^y(es)?$/i.test(line.trim());
  // Without an answer, nothing is removed.
  return false;
}
