// How many requests of each tenant are held open at one time: commands, transfers, outputs.
import { ServiceError } from '../errors.js';
import type { Tenant } from '../records.js';

/** The most of a tenant. A command's output is in memory. */
const MAX_PLACES = 32;

export class Places {
  readonly #taken = new Map<string, number>();

  /** Counts a request until it is disposed of. @throws ServiceError `quota` */
  take({ name }: Tenant): Disposable {
    const taken = this.#taken.get(name) ?? 0;
    if (taken >= MAX_PLACES) {
      throw new ServiceError('quota', `${MAX_PLACES} commands, transfers and outputs are open already`);
    }
    this.#taken.set(name, taken + 1);
    return { [Symbol.dispose]: () => this.#taken.set(name, (this.#taken.get(name) ?? 1) - 1) };
  }
}
