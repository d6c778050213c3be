// Questions to the person at the terminal, asked on stderr.
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { UsageError } from './errors.js';

/**
 * Asks, and waits for a line.
 *
 * @param hidden what is typed is not shown
 * @throws UsageError if there is no answer
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

/** Whether somebody says yes, on a line of stdin, after a warning of what is about to go. */
export async function confirmed(warning: string): Promise<boolean> {
  process.stderr.write(`WARNING! ${warning}\nAre you sure you want to continue? [y/N] `);
  for await (const line of createInterface({ input: process.stdin })) return /^y(es)?$/i.test(line.trim());
  // Where nobody answers, the answer is no.
  return false;
}
