// A descriptor that is closed once. Its number may be another file's afterwards, of another machine even:
// a second close would take that away from its owner.
import { closeSync } from 'node:fs';

const CLOSED = -1;

/** Disposing of it closes the descriptor, however often it is disposed of. */
export class OwnedDescriptor implements Disposable {
  #fd: number;

  /** @param fd owned from now on */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Negative once it is closed: each call with it fails. */
  get fd(): number {
    return this.#fd;
  }

  /** @throws Error `EBADF` if something else has closed it */
  [Symbol.dispose](): void {
    const fd = this.#fd;
    this.#fd = CLOSED;
    if (fd >= 0) closeSync(fd);
  }
}
