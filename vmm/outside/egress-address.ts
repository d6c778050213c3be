// The address at which a guest finds its proxy.
import { isSameAddress, parseAddress } from '../../addresses/ip.js';
import type { EgressSpec } from '../machine.js';

export class EgressAddress {
  readonly #address: Uint32Array;
  readonly #ports: readonly number[];

  /** @throws RangeError for an invalid address */
  constructor({ address, ports }: EgressSpec) {
    this.#address = parseAddress(address);
    this.#ports = ports;
  }

  /** True for a destination of TCP that is the proxy. */
  has(destination: Uint32Array, port: number): boolean {
    return isSameAddress(this.#address, destination) && this.#ports.includes(port);
  }
}
