// Which sandboxes are used at the moment, and which have not been for a while.

export class Uses {
  /** The number of uses under way, by ID. */
  readonly #counts = new Map<string, number>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #onIdle: (id: string) => void;
  #isClosed = false;

  /** @param onIdle called with one that has not been used for its time */
  constructor(onIdle: (id: string) => void) {
    this.#onIdle = onIdle;
  }

  /**
   * It is used until the returned function is called, once or more often.
   * @param idle milliseconds from then until it is idle. Undefined: never
   */
  begin(id: string, idle?: number): () => void {
    clearTimeout(this.#timers.get(id));
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
    let isUsed = true;
    return () => {
      if (!isUsed) return;
      isUsed = false;
      const left = (this.#counts.get(id) ?? 1) - 1;
      if (left > 0) {
        this.#counts.set(id, left);
        return;
      }
      this.#counts.delete(id);
      if (idle === undefined || this.#isClosed) return;
      clearTimeout(this.#timers.get(id));
      const end = () => {
        this.#timers.delete(id);
        this.#onIdle(id);
      };
      this.#timers.set(id, setTimeout(end, idle));
    };
  }

  isUsed(id: string): boolean {
    return this.#counts.has(id);
  }

  /** It is not idle before it is used again. */
  forget(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
