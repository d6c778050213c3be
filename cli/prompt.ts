// Questions to the person at the terminal, asked on stderr.
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { UsageError } from './failure.js';

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
      reject(new UsageError('no answer'));
    });
    if (hidden) process.stderr.write(question);
    else lines.setPrompt(question);
    if (!hidden) lines.prompt();
  });
}
