// A terminal that a person would sit at, run by tmux.
import { type Machine, run } from './machine.js';

/** A terminal with a shell command in it, run by tmux. */
export class Terminal implements AsyncDisposable {
  readonly #socket = `tsvm-test-${Math.random().toString(36).slice(2)}`;

  private constructor(private readonly machine: Machine) {}

  /** @param command shell command to run */
  static async open(machine: Machine, command: string, [columns, rows]: [number, number]): Promise<Terminal> {
    const terminal = new Terminal(machine);
    await terminal.#tmux('-f', '/dev/null', 'new-session', '-d', '-x', `${columns}`, '-y', `${rows}`, command);
    return terminal;
  }

  async #tmux(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(this.machine, ['tmux', '-L', this.#socket, ...words]);
    if (code !== 0) throw new Error(`tmux ${words[0]}: ${stderr}`);
    return stdout;
  }

  type(text: string): Promise<string> {
    return this.#tmux('send-keys', '-l', text);
  }

  /** @param key tmux's name of the key: Enter, C-c */
  press(key: string): Promise<string> {
    return this.#tmux('send-keys', key);
  }

  resize(columns: number, rows: number): Promise<string> {
    return this.#tmux('resize-window', '-x', `${columns}`, '-y', `${rows}`);
  }

  /** Waits until the screen matches `wanted`, calling `prompt` before each further look. */
  async shows(wanted: RegExp, prompt?: () => Promise<unknown>): Promise<void> {
    for (let tries = 0; tries < 500; tries++) {
      const screen = await this.screen();
      if (wanted.test(screen)) return;
      await prompt?.();
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    throw new Error(`the terminal never showed ${wanted}, but:\n${await this.screen()}`);
  }

  /** What is on the screen. */
  screen(): Promise<string> {
    return this.#tmux('capture-pane', '-p');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux('kill-server');
  }
}
