// Connections to TCP ports of sandboxes. Each is one of its tenant's places, and a sandbox has few:
// who has the token of its ports alone cannot take the places of its tenant's commands.
import type { Duplex } from 'node:stream';
import { ServiceError } from '../errors.js';
import type { Tenant } from '../records.js';
import type { Places } from './places.js';
import type { Sandboxes } from './sandboxes.js';

/** The most connections to one sandbox. */
export const MAX_CONNECTIONS = 16;
/** Milliseconds until a connection is begun. */
const START_TIMEOUT = 30_000;

export class Ports {
  readonly #sandboxes: Pick<Sandboxes, 'use' | 'tell'>;
  readonly #places: Places;
  /** Connections that are open, by the ID of their sandbox. */
  readonly #open = new Map<string, number>();

  constructor(sandboxes: Pick<Sandboxes, 'use' | 'tell'>, places: Places) {
    this.#sandboxes = sandboxes;
    this.#places = places;
  }

  /**
   * Connects to a port. The stream breaks off with a SandboxError `tool` if nothing listens there.
   * Destroy it to leave.
   * @param signal ends the start: its caller is gone
   * @throws ServiceError
   */
  async connect(tenant: Tenant, id: string, port: number, signal: AbortSignal): Promise<Duplex> {
    const use = await this.#sandboxes.use(tenant, id);
    let place: Disposable | undefined;
    const giveBack = () => {
      place?.[Symbol.dispose]();
      use[Symbol.dispose]();
    };
    try {
      place = this.#take(tenant, id);
      const connection = await use.container.openPort(port, { signal, timeout: START_TIMEOUT });
      connection.once('close', giveBack);
      return connection;
    } catch (error) {
      giveBack();
      throw this.#sandboxes.tell(error, 'the port cannot be reached');
    }
  }

  /** @throws ServiceError `quota` */
  #take(tenant: Tenant, id: string): Disposable {
    const open = this.#open.get(id) ?? 0;
    if (open >= MAX_CONNECTIONS) {
      throw new ServiceError('quota', `${MAX_CONNECTIONS} connections to the sandbox are open already`);
    }
    const place = this.#places.take(tenant);
    this.#open.set(id, open + 1);
    let isHeld = true;
    const giveBack = () => {
      if (!isHeld) return;
      isHeld = false;
      place[Symbol.dispose]();
      const left = (this.#open.get(id) ?? 1) - 1;
      if (left > 0) this.#open.set(id, left);
      else this.#open.delete(id);
    };
    return { [Symbol.dispose]: giveBack };
  }
}
