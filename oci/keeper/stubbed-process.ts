// A process of the container, and its stub: the process of the host that engines see in its place, which
// passes streams, signals and the exit code on.
import type { Socket } from 'node:net';
import type { ExitedFrame, ProcessSpec, TerminalSize } from '../../sandbox/agent/protocol.js';
import { START_TIMEOUT } from '../../sandbox/agent/session.js';
import type { GuestContainer, GuestProcess } from '../../sandbox/run/guest-container.js';

/** An exit code for a process whose machine failed. */
export const LOST = 255;

const SIGKILL = 9;
const SIGWINCH = 28;

export class StubbedProcess {
  #process: GuestProcess | undefined;
  #size: TerminalSize | undefined;
  #isAbandoned = false;

  /**
   * @param stub the connection of the stub
   * @param onExit called before the stub is told of the exit; undefined: the machine was lost, or it never ran
   */
  constructor(
    private readonly stub: Socket,
    private readonly spec: ProcessSpec,
    private readonly onExit: (ended: ExitedFrame | undefined) => void = () => {},
  ) {
    // Engines kill what they know.
    stub.once('close', () => {
      this.#isAbandoned = true;
      this.#process?.signal(SIGKILL);
    });
  }

  /** Takes a line of the stub: `signal NUMBER` or `resize COLUMNS ROWS`. */
  hear(word: string, [first = 0, second = 0]: readonly number[]): void {
    if (word === 'signal') this.#signal(first);
    else if (word === 'resize') this.#resize({ columns: first, rows: second });
  }

  /** A signal before the start is the end. */
  #signal(signal: number): void {
    if (this.#process !== undefined) this.#process.signal(signal);
    else if (signal !== SIGWINCH) this.exit(128 + signal);
  }

  /** A size that is known before the start is that of the start. */
  #resize(size: TerminalSize): void {
    const isSize = [size.columns, size.rows].every((each) => Number.isInteger(each) && each >= 0 && each <= 0xffff);
    if (!isSize) return;
    this.#size = size;
    this.#process?.resize(size);
  }

  /**
   * @param seccomp of the container's processes
   * @param onStarted called before the stub may be told of the exit
   * @throws SandboxError
   */
  async start(
    container: GuestContainer,
    seccomp: ProcessSpec['seccomp'],
    onStarted: () => void = () => {},
  ): Promise<void> {
    const terminal = this.spec.terminal && (this.#size ?? this.spec.terminal);
    const started = container.start({ ...this.spec, terminal, seccomp }, { timeout: START_TIMEOUT });
    await started.started();
    this.#process = started;
    onStarted();
    if (this.#isAbandoned) started.signal(SIGKILL);
    started.exited().then(
      (ended) => {
        const { code, signal = 0 } = ended;
        started.forget();
        this.exit(code ?? 128 + signal, ended);
      },
      () => this.exit(LOST),
    );
  }

  /** Tells the stub to end once it has written all output. */
  exit(code: number, ended?: ExitedFrame): void {
    this.onExit(ended);
    const isStarved = ended?.oomKilled === true && ended.signal === SIGKILL;
    this.stub.write(`exit ${code}${isStarved ? ' oom' : ''}\n`);
    if (this.#process === undefined) this.stub.end();
  }
}
