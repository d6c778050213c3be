// `struct sockaddr_in` and `struct sockaddr_in6` (ip(7), ipv6(7)). One object is reused for all
// calls.

import { isIPv4Address } from '../../addresses/ip.js';
import * as libc from '../host/libc.js';

const IPV4_LENGTH = 16;
const IPV6_LENGTH = 28;
/** Family (of the host's byte order), port, IPv4 address; IPv6: port, flow label, address, scope. */
const FAMILY = 0;
const PORT = 2;
const IPV4 = 4;
const IPV6 = 8;

export class SocketAddress {
  readonly bytes = new Uint8Array(IPV6_LENGTH);
  /** The length of `bytes` in use, as calls such as accept4(2) read and write it. */
  readonly size = Int32Array.of(IPV6_LENGTH);
  readonly words = new Uint32Array(4);
  readonly #view = new DataView(this.bytes.buffer);

  get family(): number {
    return this.#view.getUint16(FAMILY, true);
  }

  get port(): number {
    return this.#view.getUint16(PORT);
  }

  get length(): number {
    return this.size[0]!;
  }

  set(words: Uint32Array, port: number): this {
    const isIPv4 = isIPv4Address(words);
    this.words.set(words);
    this.bytes.fill(0);
    this.#view.setUint16(FAMILY, isIPv4 ? libc.AF_INET : libc.AF_INET6, true);
    this.#view.setUint16(PORT, port);
    if (isIPv4) this.#view.setUint32(IPV4, words[3]!);
    else for (let word = 0; word < 4; word++) this.#view.setUint32(IPV6 + word * 4, words[word]!);
    this.size[0] = isIPv4 ? IPV4_LENGTH : IPV6_LENGTH;
    return this;
  }

  /** All addresses of the family. */
  any(family: number, port: number): this {
    this.bytes.fill(0);
    this.#view.setUint16(FAMILY, family, true);
    this.#view.setUint16(PORT, port);
    this.size[0] = family === libc.AF_INET ? IPV4_LENGTH : IPV6_LENGTH;
    return this;
  }

  /** Makes room for an address that a call writes. */
  clear(): this {
    this.size[0] = IPV6_LENGTH;
    return this;
  }

  /** Reads the address that a call wrote into `words` and `size`. */
  read(): this {
    const isIPv4 = this.family === libc.AF_INET;
    this.size[0] = isIPv4 ? IPV4_LENGTH : IPV6_LENGTH;
    for (let word = 0; word < 4; word++) {
      this.words[word] = isIPv4
        ? word === 2
          ? 0xffff
          : word === 3
            ? this.#view.getUint32(IPV4)
            : 0
        : this.#view.getUint32(IPV6 + word * 4);
    }
    return this;
  }
}
