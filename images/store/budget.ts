// The size of a store, if `$TSVM_STORE_SIZE` limits it. The store is measured while bytes come in,
// and again under its lock before they become visible. So several processes that write at once
// cannot exceed the limit together.

import { measureTree } from '../../libc/trees.js';
import { ImageError } from '../errors.js';

/** Bytes that are written in any case before the store is measured again. */
const STEP = 1 << 20;
const UNITS = ['', 'k', 'm', 'g', 't'];

export class StoreBudget {
  readonly #home: string;
  readonly #limit: number;
  /** Bytes that may come in before the next measurement. */
  #left = 0;

  /** @param limit bytes on the host's disk */
  constructor(home: string, limit: number) {
    this.#home = home;
    this.#limit = limit;
  }

  /**
   * Passes on what is about to be written.
   * @throws ImageError `no-space`
   */
  async *counted(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of bytes) {
      this.#left -= chunk.length;
      if (this.#left < 0) await this.check();
      yield chunk;
    }
  }

  /** @throws ImageError `no-space` if the store exceeds the limit */
  async check(): Promise<void> {
    if (this.#limit === Number.POSITIVE_INFINITY) {
      this.#left = this.#limit;
      return;
    }
    const room = this.#limit - (await measureTree(this.#home)).bytes;
    if (room < 0) {
      throw new ImageError(
        'no-space',
        `the image store would exceed ${this.#limit} bytes (TSVM_STORE_SIZE): remove images by 'tsvm rmi' or 'tsvm image prune'`,
      );
    }
    // Other processes write too.
    this.#left = Math.max(room / 2, STEP);
  }
}

/**
 * The budget of a store. Without `$TSVM_STORE_SIZE` it has no limit.
 * @throws ImageError `bad-settings`
 */
export function openBudget(home: string, size = process.env.TSVM_STORE_SIZE ?? ''): StoreBudget {
  if (size === '') return new StoreBudget(home, Number.POSITIVE_INFINITY);
  const [, digits, unit = ''] = /^(\d{1,12})([kmgt]?)b?$/i.exec(size) ?? [];
  const limit = Number(digits) * 1024 ** UNITS.indexOf(unit.toLowerCase());
  if (Number.isSafeInteger(limit)) return new StoreBudget(home, limit);
  throw new ImageError('bad-settings', `TSVM_STORE_SIZE is not a size such as 20g: ${JSON.stringify(size)}`);
}
