// Runs a command and measures the time to its output and to its end.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';

/** Number of characters of output that are kept. */
const KEPT_TEXT = 2 ** 18;

export interface Timing {
  /** Milliseconds from the start of the process to `until`. Undefined if it never wrote that. */
  output: number | undefined;
  /** Milliseconds from the start of the process to its end. */
  exit: number;
  code: number | null;
  /** The last characters of the output: of both streams in `text`, of stdout in `stdout`. */
  text: string;
  stdout: string;
  /** The data that the command wrote to file descriptor 3. */
  answer: string;
}

export interface StopwatchOptions {
  /** The text to wait for in the output. Default: any byte. */
  until?: string;
  env?: NodeJS.ProcessEnv;
  /** Writes to the command's file descriptor 3, a socket that stays open. */
  request?: (control: Socket) => void;
  /** Called once when the command has written `until`. The command keeps running meanwhile. */
  onOutput?: (child: ChildProcess) => Promise<void> | void;
}

/** Runs `command` to its end. Both stdout and stderr count as output. */
export function time(command: string, args: readonly string[], options: StopwatchOptions = {}): Promise<Timing> {
  const { until = '', env = process.env, request, onOutput } = options;
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe', request === undefined ? 'ignore' : 'pipe'],
      env,
    });
    let output: number | undefined;
    let text = '';
    let stdout = '';
    let answer = '';
    const read = (chunk: Buffer) => {
      text = (text + chunk.toString('latin1')).slice(-KEPT_TEXT);
      if (output !== undefined || !text.includes(until)) return;
      output = performance.now() - start;
      Promise.resolve()
        .then(() => onOutput?.(child))
        .catch((error) => {
          child.kill('SIGKILL');
          reject(error);
        });
    };
    child.stdout!.on('data', (chunk: Buffer) => {
      stdout = (stdout + chunk.toString('latin1')).slice(-KEPT_TEXT);
      read(chunk);
    });
    child.stderr!.on('data', read);
    if (request !== undefined) {
      const control = child.stdio[3] as Socket;
      control.on('data', (chunk: Buffer) => {
        answer += chunk.toString('latin1');
      });
      control.on('error', () => {});
      request(control);
    }
    child.on('error', reject);
    child.on('close', (code) => resolve({ output, exit: performance.now() - start, code, text, stdout, answer }));
  });
}

/** Like {@link time}. @throws Error if the command fails */
export async function timeSuccess(
  command: string,
  args: readonly string[],
  options: StopwatchOptions = {},
): Promise<Timing & { output: number }> {
  const timing = await time(command, args, options);
  const { output, code, text } = timing;
  if (code !== 0 || output === undefined) {
    throw new Error(`${command} ${args.join(' ')}: exit code ${code}\n${text.slice(-2000)}`);
  }
  return { ...timing, output };
}
