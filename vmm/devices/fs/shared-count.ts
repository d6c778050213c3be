// The count of what a bounded share has, in a file of the owner that every machine with the share
// has mapped: u64 bytes, u64 files, a lock that keeps the machines apart, and what deletions.ts has.
// In memory, because a lock of the kernel is a system call more. The descriptor is closed, so that
// no machine can cut the file; the mapping keeps what the owner has locked
// (sandbox/home/volume-count.ts).
import * as libc from '../../host/libc.js';
import { randomWord } from '../../host/random.js';

const PAGE = 4096;
// In 32-bit words.
const BYTES = 0;
const FILES = 2;
const LOCK = 4;
const FREE = 0;

/**
 * Milliseconds after which a machine that keeps the lock is taken for dead or hostile. Then the
 * count may be wrong, and this machine goes on.
 */
const PATIENCE = 1000;
/** Milliseconds between attempts. */
const PAUSE = 1;

const pause = new Int32Array(new SharedArrayBuffer(4));

/** The 32-bit words of shared memory, and pairs of them as u64. */
export class SharedWords {
  readonly #words: Int32Array;

  constructor(address: number) {
    this.#words = new Int32Array(libc.viewMemory(address, PAGE));
  }

  load(at: number): number {
    return Atomics.load(this.#words, at);
  }

  store(at: number, value: number): void {
    Atomics.store(this.#words, at, value);
  }

  /** Stores `value` if the word is `expected`. Returns what it was. */
  exchange(at: number, expected: number, value: number): number {
    return Atomics.compareExchange(this.#words, at, expected, value);
  }

  get(at: number): number {
    return (this.load(at) >>> 0) + (this.load(at + 1) >>> 0) * 2 ** 32;
  }

  put(at: number, value: number): void {
    this.store(at, value | 0);
    this.store(at + 1, Math.floor(value / 2 ** 32));
  }
}

export class SharedCount implements Disposable {
  readonly #address: number;
  readonly words: SharedWords;
  /** What the lock has while this machine holds it. */
  readonly #own = randomWord() | 1;
  /** As of the last {@link begin} or {@link read}. */
  bytes = 0;
  files = 0;
  #hasChanged = false;

  /** Takes ownership of `fd`. @throws libc.SystemError */
  constructor(fd: number) {
    try {
      const prot = libc.PROT_READ | libc.PROT_WRITE;
      this.#address = libc.check(libc.mmap(null, PAGE, prot, libc.MAP_SHARED, fd, 0), 'mmap');
    } finally {
      libc.close(fd);
    }
    this.words = new SharedWords(this.#address);
  }

  /** Locks and reads the count. */
  begin(): void {
    const deadline = performance.now() + PATIENCE;
    while (this.words.exchange(LOCK, FREE, this.#own) !== FREE) {
      if (performance.now() >= deadline) {
        this.words.store(LOCK, this.#own);
        break;
      }
      Atomics.wait(pause, 0, 0, PAUSE);
    }
    this.read();
  }

  /** Writes the count if it has changed, and unlocks it. */
  end(): void {
    if (this.#hasChanged) {
      this.words.put(BYTES, this.bytes);
      this.words.put(FILES, this.files);
    }
    this.#hasChanged = false;
    this.words.exchange(LOCK, this.#own, FREE);
  }

  read(): void {
    this.bytes = this.words.get(BYTES);
    this.files = this.words.get(FILES);
  }

  addBytes(bytes: number): void {
    if (bytes === 0) return;
    this.bytes = Math.max(this.bytes + bytes, 0);
    this.#hasChanged = true;
  }

  addFiles(files: number): void {
    this.files = Math.max(this.files + files, 0);
    this.#hasChanged = true;
  }

  [Symbol.dispose](): void {
    libc.munmap(this.#address, PAGE);
  }
}
