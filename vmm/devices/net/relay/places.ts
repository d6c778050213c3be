// How many sockets of the host the relay may have. All kinds count together, and those that were asked
// for and have not come: a guest costs its host no more.
export class Places {
  readonly #most: number;
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Takes a place. Returns false if there is none. */
  take(): boolean {
    if (this.#taken >= this.#most) return false;
    this.#taken++;
    return true;
  }

  give(): void {
    this.#taken--;
  }
}
