// The time that a comparison may take. A phase begins no step after its share of it, so that the rounds,
// which come last, have the rest. A step that runs when the time is over is ended.

/** Shares of the time after which a phase begins no further step, if rounds follow it. */
export const SHARES = { probes: 0.2, surface: 0.3, warmUp: 0.5, crowd: 0.65 };

/** Milliseconds that a sandbox has to start, at least and at most. */
const PATIENCE = { least: 30_000, most: 300_000 };
/**
 * The share of the time that a sandbox has to start. A level whose sandbox does not is left out.
 */
const START = 1 / 7;

/** The longest time of a timer of Node.js. */
const LONGEST = 2 ** 31 - 1;

export class Limit implements Disposable {
  readonly #began: number;
  readonly #ending = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;
  /** Aborted when the caller ends the comparison, and when the time is over. */
  readonly signal: AbortSignal;

  /**
   * @param milliseconds from now on; may be Infinity
   * @param now the clock, in milliseconds
   */
  constructor(
    readonly milliseconds: number,
    caller: AbortSignal,
    readonly now: () => number,
  ) {
    this.#began = now();
    this.signal = AbortSignal.any([caller, this.#ending.signal]);
    if (milliseconds <= LONGEST) this.#timer = setTimeout(() => this.#ending.abort(), milliseconds);
  }

  /**
   * True if a share of the time has passed.
   * @param more milliseconds that would pass too
   */
  isOver(share = 1, more = 0): boolean {
    return this.now() - this.#began + more > this.milliseconds * share;
  }

  /** Milliseconds, a whole number, that a sandbox has to start. */
  get patience(): number {
    return Math.min(PATIENCE.most, Math.max(PATIENCE.least, Math.round(this.milliseconds * START)));
  }

  /** For a reader: `120 s`. */
  toString(): string {
    return `${Math.round(this.milliseconds / 1000)} s`;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
