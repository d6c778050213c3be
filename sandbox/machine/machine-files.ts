// Named descriptors on their way to a machine process.
import { closeSync } from 'node:fs';
import { MAX_DESCRIPTORS } from '../../libc/pass-descriptors.js';

interface Entry {
  name: string;
  fd: number;
  isTree: boolean;
  isReadOnly: boolean;
}

/** Some of the files: as many as fit into one message. */
export interface Portion {
  names: string[];
  descriptors: number[];
  /** Of each, whether its mount is to be read-only, if it gets one. */
  areReadOnly: boolean[];
}

/** What was opened for a machine. Disposing of it closes what is there. */
export class MachineFiles implements Disposable {
  readonly #opened: Entry[] = [];

  /** Takes ownership of the descriptor. */
  add(name: string, fd: number): void {
    this.#opened.push({ name, fd, isTree: false, isReadOnly: false });
  }

  /**
   * Takes ownership of a descriptor, opened with O_PATH, from which paths lead on: a folder. A machine
   * process in another root gets a mount of it, which no path leaves.
   */
  addTree(name: string, fd: number, isReadOnly: boolean): void {
    this.#opened.push({ name, fd, isTree: true, isReadOnly });
  }

  /** Takes what the other has. */
  take(other: MachineFiles): void {
    this.#opened.push(...other.#opened.splice(0));
  }

  get all(): Portion[] {
    return portions(this.#opened);
  }

  get trees(): Portion[] {
    return portions(this.#opened.filter(({ isTree }) => isTree));
  }

  get others(): Portion[] {
    return portions(this.#opened.filter(({ isTree }) => !isTree));
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#opened.splice(0)) closeSync(fd);
  }
}

function portions(entries: readonly Entry[]): Portion[] {
  const found: Portion[] = [];
  for (let at = 0; at < entries.length; at += MAX_DESCRIPTORS) {
    const some = entries.slice(at, at + MAX_DESCRIPTORS);
    found.push({
      names: some.map(({ name }) => name),
      descriptors: some.map(({ fd }) => fd),
      areReadOnly: some.map(({ isReadOnly }) => isReadOnly),
    });
  }
  return found;
}
