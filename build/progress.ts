// What a build tells while it runs. A step is an instruction of a stage, or the work before and
// after it.
import { hasCode, messageOf } from '../errors/index.js';
import type { Finding } from './check/check.js';

export type StepEvent =
  | { is: 'begun'; step: number; name: string }
  /** The cache had its result. */
  | { is: 'cached'; step: number }
  /** `seconds` since the step began. Output of a command comes as it was written. */
  | { is: 'output'; step: number; stream: 'stdout' | 'stderr'; bytes: Buffer }
  | { is: 'done'; step: number; seconds: number }
  /** `isCanceled`: another failure, or a signal, has ended it. */
  | { is: 'failed'; step: number; message: string; isCanceled: boolean }
  | { is: 'warning'; message: string }
  /** What the build checks found, at the end of the build, whether it failed or not. */
  | { is: 'checked'; findings: readonly Finding[] };

export type OnEvent = (event: StepEvent) => void;

/** Numbers the steps of a build. */
export class Steps {
  readonly #onEvent: OnEvent;
  #count = 0;
  #failure: unknown;

  constructor(onEvent: OnEvent = () => {}) {
    this.#onEvent = onEvent;
  }

  warn(message: string): void {
    this.#onEvent({ is: 'warning', message });
  }

  checked(findings: readonly Finding[]): void {
    if (findings.length > 0) this.#onEvent({ is: 'checked', findings });
  }

  /** Tells of a step while `act` runs. */
  async during<T>(name: string, act: (step: Step) => Promise<T>): Promise<T> {
    const step = ++this.#count;
    const began = performance.now();
    let isCached = false;
    this.#onEvent({ is: 'begun', step, name });
    const tell: Step = {
      cached: () => {
        isCached = true;
      },
      output: (stream, bytes) => this.#onEvent({ is: 'output', step, stream, bytes }),
    };
    try {
      const result = await act(tell);
      const seconds = (performance.now() - began) / 1000;
      this.#onEvent(isCached ? { is: 'cached', step } : { is: 'done', step, seconds });
      return result;
    } catch (error) {
      const isCanceled = hasCode(error, 'aborted') || (this.#failure !== undefined && isSame(error, this.#failure));
      this.#failure ??= error;
      this.#onEvent({ is: 'failed', step, message: messageOf(error), isCanceled });
      throw error;
    }
  }
}

export interface Step {
  cached(): void;
  output(stream: 'stdout' | 'stderr', bytes: Buffer): void;
}

/** What ends the other steps is a failure with its place, which the first has not. */
function isSame(error: unknown, first: unknown): boolean {
  return error === first || (error instanceof Error && error.cause === first);
}
