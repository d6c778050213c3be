// The address at which a guest finds its proxy.
import { isSameAddress, parseAddress } from '../../addresses/ip.js';
import type { EgressSpec } from '../machine.js';

export class EgressAddress {
  readonly #address: Uint32Array;
  readonly #ports: readonly number[];
  readonly #names: ReadonlySet<string>;

  /** @throws RangeError for an invalid address */
  constructor({ address, ports, names }: EgressSpec) {
    this.#address = parseAddress(address);
    this.#ports = ports;
    this.#names = new Set(names);
  }

  /** True for a destination of TCP that is the proxy. */
  has(destination: Uint32Array, port: number): boolean {
    return isSameAddress(this.#address, destination) && this.#ports.includes(port);
  }

  /** The address of a name, in lower case; undefined if it is none of the proxy's. */
  resolve(name: string): Uint32Array | undefined {
    return this.#names.has(name) ? this.#address : undefined;
  }
}
