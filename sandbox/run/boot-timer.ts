// The deadline of a guest that boots. On a busy host an emulated guest takes many times as long as on
// a quiet one, and one that hangs should be given up soon: so the machine's own time is measured.

/** Milliseconds. */
export interface BootDeadline {
  /** Of the machine's own time: while it waits for a processor of the host, it does not pass. */
  own: number;
  /** In all. */
  all: number;
}

/** An emulated machine takes many seconds. */
export const BOOT_DEADLINE: BootDeadline = { own: 120_000, all: 600_000 };
/** Milliseconds between two looks at how long the machine has waited, at least. */
const LEAST_PAUSE = 100;

/** Disposing of it stops it. */
export class BootTimer implements Disposable {
  readonly #since = performance.now();
  #timer: NodeJS.Timeout;

  /**
   * @param waited how many milliseconds the machine has waited for a processor so far
   * @param onLate called with the milliseconds that have passed in all
   */
  constructor({ own, all }: BootDeadline, waited: () => number, onLate: (passed: number) => void) {
    let isLast = false;
    const look = () => {
      const passed = performance.now() - this.#since;
      const left = Math.min(own - (passed - waited()), all - passed);
      if (left <= 0 && isLast) {
        onLate(passed);
        return;
      }
      // What has come while this process stood still is read first.
      isLast = left <= 0;
      this.#timer = setTimeout(look, Math.max(left, LEAST_PAUSE));
    };
    this.#timer = setTimeout(look, Math.min(own, all));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
