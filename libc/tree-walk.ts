// A walk through a tree that a hostile process made and may be changing. It has no recursion, holds
// few descriptors however deep the tree is, and uses no path: one name at a time below a
// descriptor. It pauses again and again, so that a large tree does not stop its process.
import { setImmediate as pause } from 'node:timers/promises';
import { type DirectoryCalls, directoryCalls, type EntryVisitor } from './directory-calls.js';

/** Folders of the current path that stay open. A folder above them is opened again by `..`. */
const OPEN = 32;
const CLOSED = -1;
/** Milliseconds after which a walk pauses. */
const SLICE = 10;

/** A folder of the current path. */
export interface Level {
  /** Descriptor, or CLOSED. */
  fd: number;
  readonly name: string;
  readonly identity: string;
  /** Names of folders in it that are still to be walked. */
  folders: string[];
  /** What the walker keeps. */
  failed: boolean;
}

/** What is done on a walk. */
export interface Walker {
  /** An entry of `level`. Returns true for a folder to walk through. */
  entry(level: Level, address: number, type: number): boolean;
  /**
   * Opens the folder `name` of `level`. Returns its descriptor, or a negative number to pass by.
   */
  enter(level: Level, name: string): number;
  /** A folder cannot be read. */
  unreadable(level: Level, errno: number): void;
  /** A folder was walked. `above` is undefined for the first one. Returns true to walk it again. */
  leave(level: Level, above: Level | undefined): boolean;
  /** The tree was moved meanwhile, and the folders between were lost. */
  lost(level: Level): void;
}

/**
 * Walks the folder of an open descriptor, which is closed at the end.
 * @param name its name in its parent, for the walker
 */
export async function walkTree(fd: number, name: string, walker: Walker): Promise<void> {
  let end = performance.now() + SLICE;
  for (const _step of new Walk(walker).run(fd, name)) {
    if (performance.now() < end) continue;
    await pause();
    end = performance.now() + SLICE;
  }
}

/** The end of a step of a walk. What system calls have returned is used up. */
type Steps = Generator<void, void, void>;

class Walk {
  readonly #calls: DirectoryCalls = directoryCalls();
  readonly #walker: Walker;
  readonly #path: Level[] = [];

  constructor(walker: Walker) {
    this.#walker = walker;
  }

  *run(fd: number, name: string): Steps {
    try {
      yield* this.#push(fd, name);
      for (let level = this.#path.at(-1); level !== undefined; level = this.#path.at(-1)) {
        const next = level.folders.pop();
        if (next !== undefined) {
          const child = this.#walker.enter(level, next);
          if (child >= 0) yield* this.#push(child, next);
          continue;
        }
        yield* this.#leave(level);
      }
    } finally {
      for (const level of this.#path) this.#close(level);
    }
  }

  *#push(fd: number, name: string): Steps {
    const status = this.#calls.statusOf(fd);
    const identity = typeof status === 'number' ? '' : status.identity;
    const level: Level = { fd, name, identity, folders: [], failed: false };
    this.#path.push(level);
    // The first folder stays open: it is where a lost walk goes on.
    const old = this.#path.length - 1 - OPEN;
    if (old > 0) this.#close(this.#path[old]!);
    yield* this.#read(level);
  }

  *#read(level: Level): Steps {
    const visit: EntryVisitor = (address, type) => {
      if (this.#walker.entry(level, address, type)) level.folders.push(this.#calls.nameAt(address));
    };
    for (;;) {
      const result = this.#calls.readSome(level.fd, visit);
      if (result < 0) this.#walker.unreadable(level, -result);
      yield;
      if (result <= 0) return;
    }
  }

  *#leave(level: Level): Steps {
    const above = this.#path.length > 1 ? this.#above(level) : undefined;
    // The walk was lost, and goes on in a folder further up.
    if (this.#path.at(-1) !== level) return;
    if (this.#walker.leave(level, above)) {
      this.#calls.rewind(level.fd);
      yield* this.#read(level);
      return;
    }
    this.#path.pop();
    this.#close(level);
  }

  /** The level above, open again. If it is not there any more, goes back to one that is open. */
  #above(level: Level): Level | undefined {
    const above = this.#path.at(-2)!;
    if (above.fd !== CLOSED) return above;
    const fd = this.#calls.openAbove(level.fd);
    if (fd >= 0) {
      const status = this.#calls.statusOf(fd);
      if (typeof status !== 'number' && status.identity === above.identity) {
        above.fd = fd;
        return above;
      }
      this.#calls.close(fd);
    }
    this.#close(level);
    while (this.#path.at(-1)!.fd === CLOSED) this.#path.pop();
    this.#walker.lost(this.#path.at(-1)!);
    return undefined;
  }

  #close(level: Level): void {
    if (level.fd !== CLOSED) this.#calls.close(level.fd);
    level.fd = CLOSED;
  }
}
