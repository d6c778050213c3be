// Where the relay gets its sockets to hosts outside from: this process, or another that may answer
// later.

import { SocketAddress } from '../../../outside/socket-address.js';
import { connectSocket } from './tcp-socket.js';

export interface OutsideSockets {
  /**
   * Begins to connect.
   * @param address of the host's network, valid during the call
   * @param done called at most once, now or later: with a non-blocking socket that is connected or
   * connecting, which the callee owns, or with the negated errno
   */
  connect(address: Uint32Array, port: number, done: (fd: number) => void): void;
}

/** Sockets of this process's network. */
export class OwnSockets implements OutsideSockets {
  readonly #address = new SocketAddress();

  connect(address: Uint32Array, port: number, done: (fd: number) => void): void {
    done(connectSocket(this.#address.set(address, port)));
  }
}
