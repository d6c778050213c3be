// The state of a container that engines change while it runs: whether it is paused, and its limits. A
// change that fails may have been made, in part or later than anybody waits for it. Once the guest does
// nothing for it any more, the guest is brought back to what engines see.
import type { Limits } from '../../sandbox/agent/protocol.js';
import { SandboxError } from '../../sandbox/errors.js';
import { sleep } from '../../sandbox/run/guest-machine.js';
import { OciError } from '../config/oci-error.js';
import { limitWords } from '../config/update.js';

const PAUSED = 'cannot exec in a paused container';
/** What engines look for. */
export const NOT_RUNNING = 'container not running';
/** Milliseconds between two attempts to bring the guest back. */
const RETRY = 1000;

/** Asks a tool of the agent, as `askTool` does. @throws OciError if the container does not run */
export type AskTool = (argv: string[], onFailed: (ended: Promise<void>) => void) => Promise<unknown>;

export class GuestState {
  #isPaused = false;
  /** Failed pauses and resumes that are not undone yet. */
  #failed = 0;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #freezer = (): string[] => [this.#isPaused ? 'freeze' : 'thaw'];

  /** @param limits what the container is made with, if they do not change before */
  constructor(
    private readonly ask: AskTool,
    public limits: Limits,
  ) {}

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** `checkStart` would not throw. */
  get mayStart(): boolean {
    return !this.#isPaused && this.#failed === 0;
  }

  /** The agent would wait for a process that it starts in a frozen cgroup. @throws OciError, SandboxError */
  checkStart(): void {
    if (this.#isPaused) throw new OciError(PAUSED);
    if (this.#failed > 0) throw new SandboxError('unresponsive', 'the guest has not answered an earlier request yet');
  }

  /** @param what is asked. @throws OciError */
  checkNotPaused(what: string): void {
    if (this.#isPaused) throw new OciError(`${what}: the container is paused`);
  }

  /** Does what reads or changes the state once all before it is done: each begins with what the last one left. */
  async inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(change);
    this.#turn = done.catch(() => {});
    await done;
  }

  /**
   * Stops the container's processes. In turn.
   * @param starts of processes that are not over
   * @throws SandboxError, OciError
   */
  async pause(starts: Iterable<Promise<void>>): Promise<void> {
    if (this.#isPaused) throw new OciError(NOT_RUNNING);
    this.#isPaused = true;
    try {
      // The agent waits for a process that is being started.
      await Promise.allSettled(starts);
      await this.#change(['freeze'], this.#freezer);
    } catch (error) {
      this.#isPaused = false;
      throw error;
    }
  }

  /** In turn. @throws SandboxError, OciError */
  async resume(): Promise<void> {
    if (!this.#isPaused) throw new OciError('container not paused');
    await this.#change(['thaw'], this.#freezer);
    this.#isPaused = false;
  }

  /** In turn. @throws SandboxError, OciError */
  async update(limits: Limits): Promise<void> {
    this.checkNotPaused('update');
    await this.#change(['limit', ...limitWords(limits)], () => ['limit', ...limitWords(this.limits)]);
    this.limits = limits;
  }

  /** @param back words of the tool that brings the guest to what engines see */
  async #change(argv: string[], back: () => string[]): Promise<void> {
    await this.ask(argv, (ended) => this.#bringBack(ended, back));
  }

  #bringBack(ended: Promise<void>, back: () => string[]): void {
    const count = back === this.#freezer ? 1 : 0;
    this.#failed += count;
    const again = (ended: Promise<void>) =>
      this.#bringBack(
        Promise.all([ended, sleep(RETRY)]).then(() => {}),
        back,
      );
    const brought = async () => {
      let last: Promise<void> | undefined;
      try {
        await this.ask(back(), (ended) => {
          last = ended;
        });
      } catch (error) {
        // A tool that runs and fails does so again.
        if (last !== undefined && error instanceof SandboxError && error.code === 'unresponsive') again(last);
      }
    };
    void ended
      .then(() => this.inTurn(brought))
      .finally(() => {
        this.#failed -= count;
      });
  }
}
