// How many requests of each tenant are held open at one time: commands, transfers, outputs,
// connections to ports.
import { ServiceError } from '../errors.js';
import type { Tenant } from '../records.js';

/** The most of a tenant. A command's output is in memory. */
export const MAX_PLACES = 32;

export class Places {
  readonly #taken = new Map<string, number>();

  /** Counts a request until it is disposed of, once or more often. @throws ServiceError `quota` */
  take({ name }: Tenant): Disposable {
    const taken = this.#taken.get(name) ?? 0;
    if (taken >= MAX_PLACES) {
      throw new ServiceError('quota', `${MAX_PLACES} commands, transfers, outputs and connections are open already`);
    }
    this.#taken.set(name, taken + 1);
    let isHeld = true;
    // A stream that breaks off gives its place back, and so does who learns of it.
    const giveBack = () => {
      if (!isHeld) return;
      isHeld = false;
      const left = (this.#taken.get(name) ?? 1) - 1;
      if (left > 0) this.#taken.set(name, left);
      else this.#taken.delete(name);
    };
    return { [Symbol.dispose]: giveBack };
  }
}
