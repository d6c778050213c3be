// The way from a guest to its proxy: a port of the loopback interface, which is told of each
// connection and takes no others.
import { parseAddress } from '../../addresses/ip.js';
import * as libc from '../host/libc.js';
import type { EgressPort, EgressSpec } from '../machine.js';
import { connectTcp } from './connected-socket.js';
import { EgressAddress } from './egress-address.js';
import { SocketAddress } from './socket-address.js';

const LOOPBACK = parseAddress('127.0.0.1');

export class EgressDoor {
  readonly #spec: EgressAddress;
  readonly #proxy: EgressPort | undefined;
  readonly #address = new SocketAddress();

  /** @throws RangeError for an invalid address */
  constructor(spec: EgressSpec, proxy: EgressPort | undefined) {
    this.#spec = new EgressAddress(spec);
    this.#proxy = proxy;
  }

  /** @returns a socket, or the negated errno; undefined if the destination is not the proxy's */
  connect(destination: Uint32Array, to: number): number | undefined {
    if (!this.#spec.has(destination, to)) return undefined;
    const port = this.#proxy?.port;
    if (port === undefined) return -libc.ECONNREFUSED;
    const fd = connectTcp(this.#address.set(LOOPBACK, port));
    if (fd < 0) return fd;
    const local = this.#address.clear();
    libc.getsockname(fd, local.bytes, local.size);
    this.#proxy?.announce({ from: local.port, to });
    return fd;
  }
}
