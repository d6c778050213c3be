// Named descriptors on their way to a machine process.
import { closeSync } from 'node:fs';
import { MAX_DESCRIPTORS } from '../../libc/pass-descriptors.js';

/** What was opened for a machine. Disposing of it closes what is there. */
export class MachineFiles implements Disposable {
  readonly #opened: { name: string; fd: number }[] = [];

  /** Takes ownership of the descriptor. */
  add(name: string, fd: number): void {
    this.#opened.push({ name, fd });
  }

  /** Takes what the other has. */
  take(other: MachineFiles): void {
    this.#opened.push(...other.#opened.splice(0));
  }

  /** In portions that fit into one message. */
  get portions(): { names: string[]; descriptors: number[] }[] {
    const portions: { names: string[]; descriptors: number[] }[] = [];
    for (let at = 0; at < this.#opened.length; at += MAX_DESCRIPTORS) {
      const portion = this.#opened.slice(at, at + MAX_DESCRIPTORS);
      portions.push({ names: portion.map(({ name }) => name), descriptors: portion.map(({ fd }) => fd) });
    }
    return portions;
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#opened.splice(0)) closeSync(fd);
  }
}
