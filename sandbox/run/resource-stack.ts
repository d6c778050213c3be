// Resources that are released together.

/**
 * Disposes of its resources in reverse order. A resource that is added later is disposed of at
 * once.
 */
export class ResourceStack implements Disposable {
  readonly #resources: Disposable[] = [];
  #disposed = false;

  add<T extends Disposable>(resource: T): T {
    if (this.#disposed) resource[Symbol.dispose]();
    else this.#resources.push(resource);
    return resource;
  }

  /** Calls `act` after some milliseconds, unless the timer or the stack is disposed of first. */
  after(milliseconds: number, act: () => void): Disposable {
    // setTimeout takes at most 2^31 - 1 ms (24 days). A longer delay would fire at once.
    const timer = setTimeout(act, Math.min(milliseconds, 2 ** 31 - 1));
    return this.add({ [Symbol.dispose]: () => clearTimeout(timer) });
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const resource of this.#resources.splice(0).reverse()) resource[Symbol.dispose]();
  }
}
