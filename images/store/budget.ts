// The sizes of a store and of its home, if `$TSVM_STORE_SIZE` and `$TSVM_HOME_SIZE` limit them. They
// are measured while bytes come in, and again under the store's lock before they become visible. So
// several processes that write at once cannot exceed the limits together.

import { dirname } from 'node:path';
import { measureTree } from '../../libc/trees.js';
import { ImageError } from '../errors.js';

/** Bytes that are written in any case before the sizes are measured again. */
const STEP = 1 << 20;
const UNITS = ['', 'k', 'm', 'g', 't'];

interface Limit {
  path: string;
  /** Bytes on the host's disk. */
  most: number;
  /** The whole line of the error. */
  message: string;
}

export class StoreBudget {
  readonly #limits: readonly Limit[];
  /** Bytes that may come in before the next measurement. */
  #left = 0;

  constructor(limits: readonly Limit[]) {
    this.#limits = limits;
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

  /** @throws ImageError `no-space` if a limit is exceeded */
  async check(): Promise<void> {
    let left = Number.POSITIVE_INFINITY;
    for (const { path, most, message } of this.#limits) {
      const room = most - (await measureTree(path)).bytes;
      if (room < 0) throw new ImageError('no-space', message);
      // Other processes write too.
      left = Math.min(left, Math.max(room / 2, STEP));
    }
    this.#left = left;
  }
}

/**
 * The budget of a store. Without `$TSVM_STORE_SIZE` and `$TSVM_HOME_SIZE` it has no limit.
 * @param home path of the store, which is in the state folder
 * @throws ImageError `bad-settings`
 */
export function openBudget(home: string): StoreBudget {
  const store = sizeSetting('TSVM_STORE_SIZE');
  const whole = homeLimit();
  const hint = "remove images by 'tsvm rmi' or 'tsvm image prune'";
  const limits: Limit[] = [];
  if (store !== undefined) {
    const message = `the image store would exceed ${store} bytes (TSVM_STORE_SIZE): ${hint}`;
    limits.push({ path: home, most: store, message });
  }
  if (whole !== undefined) {
    const message = `the home would exceed ${whole} bytes (TSVM_HOME_SIZE): see 'tsvm df', and ${hint}`;
    limits.push({ path: dirname(home), most: whole, message });
  }
  return new StoreBudget(limits);
}

/** The most bytes that a home may take on the host's disk. @throws ImageError `bad-settings` */
export function homeLimit(): number | undefined {
  return sizeSetting('TSVM_HOME_SIZE');
}

/**
 * The bytes that a variable of the environment says. Undefined if it is empty or absent.
 * @throws ImageError `bad-settings`
 */
export function sizeSetting(variable: string): number | undefined {
  const text = process.env[variable] ?? '';
  if (text === '') return undefined;
  const [, digits, unit = ''] = /^(\d{1,12})([kmgt]?)b?$/i.exec(text) ?? [];
  const size = Number(digits) * 1024 ** UNITS.indexOf(unit.toLowerCase());
  if (Number.isSafeInteger(size)) return size;
  throw new ImageError('bad-settings', `${variable} is not a size such as 20g: ${JSON.stringify(text)}`);
}
