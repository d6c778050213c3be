// A container of `tsvm run -i` that exchanges lines with the benchmark.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { need } from './measurement.js';
import { CLI } from './paths.js';
import { machineOf } from './proc.js';

/** A container whose command answers lines with lines. Disposal ends it. */
export class Conversation implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(options: readonly string[], image: string, script: string) {
    const args = ['run', '--rm', '-i', '--quiet', ...options, image, 'sh', '-c', script];
    this.#child = spawn(CLI, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** The pid of the machine process. */
  get machine(): number {
    return need(machineOf(this.#child.pid!), 'machine process');
  }

  say(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** Resolves to the container's next line. @throws Error if its output ends */
  async hear(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the container said nothing more');
    return value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin!.end();
    this.#child.kill('SIGTERM');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
  }
}
