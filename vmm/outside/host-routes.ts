// The host's routes, of all routing tables, read from its kernel by netlink (rtnetlink(7)). The
// socket belongs to the network namespace in which it was made.
import type { AddressRange } from '../../addresses/ip.js';
import * as libc from '../host/libc.js';

/** `rtm_type` of linux/rtnetlink.h. */
export const RTN_UNICAST = 1;
export const RTN_LOCAL = 2;
export const RTN_BROADCAST = 3;
export const RTN_ANYCAST = 4;

export interface Route {
  range: AddressRange;
  isIPv4: boolean;
  /** RTN_UNICAST, ... */
  type: number;
  /** Equal for routes of one table by the same gateway, or to the same link. */
  way: string;
}

// Messages (netlink(7)).
const HEADER = 16;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const ROUTE_HEADER = 12;
/** A route that the kernel learned for one destination, such as its path's MTU. */
const RTM_F_CLONED = 0x200;

// Attributes of a route.
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_VIA = 18;
const RTA_NH_ID = 30;
const WAY = [RTA_TABLE, RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTA_NH_ID];

/** The kernel writes at most 32 KiB at once. */
const BUFFER = 64 * 1024;
/** Attempts to read the routes while they change. */
const ATTEMPTS = 3;

export class HostRoutes implements Disposable {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(BUFFER);
  #sequence = 0;

  /** @param fd from openRouteSocket, owned from now on */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** @throws libc.SystemError; Error if the kernel refuses */
  read(): Route[] {
    return [libc.AF_INET, libc.AF_INET6].flatMap((family) => {
      for (let attempt = 1; ; attempt++) {
        const { routes, isWhole } = this.#dump(family);
        if (isWhole || attempt === ATTEMPTS) return routes;
      }
    });
  }

  #dump(family: number): { routes: Route[]; isWhole: boolean } {
    const request = Buffer.alloc(HEADER + ROUTE_HEADER);
    request.writeUInt32LE(request.length, 0);
    request.writeUInt16LE(RTM_GETROUTE, 4);
    request.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6);
    request.writeUInt32LE(++this.#sequence, 8);
    request[HEADER] = family;
    libc.check(libc.write(this.#fd, request, request.length), 'write');
    const routes: Route[] = [];
    let isWhole = true;
    for (;;) {
      // The kernel fills the socket before send and read return: there is nothing to wait for.
      const count = libc.check(libc.read(this.#fd, this.#buffer, BUFFER), 'read');
      for (let at = 0; at + HEADER <= count; ) {
        const length = this.#buffer.readUInt32LE(at);
        if (length < HEADER || at + length > count) throw new Error('a route of the kernel is cut short');
        const message = this.#buffer.subarray(at, at + length);
        at += (length + 3) & ~3;
        if (message.readUInt32LE(8) !== this.#sequence) continue;
        if ((message.readUInt16LE(6) & NLM_F_DUMP_INTR) !== 0) isWhole = false;
        const type = message.readUInt16LE(4);
        if (type === NLMSG_DONE) return { routes, isWhole };
        if (type === NLMSG_ERROR) {
          // A kernel without the address family.
          if (message.readInt32LE(HEADER) === -libc.EAFNOSUPPORT) return { routes, isWhole };
          throw new libc.SystemError('netlink', -message.readInt32LE(HEADER));
        }
        const route = type === RTM_NEWROUTE ? parseRoute(message.subarray(HEADER)) : undefined;
        if (route !== undefined) routes.push(route);
      }
    }
  }

  [Symbol.dispose](): void {
    libc.close(this.#fd);
  }
}

/** `struct rtmsg` and its attributes. */
function parseRoute(message: Buffer): Route | undefined {
  const [family, bits = 0] = message;
  const isIPv4 = family === libc.AF_INET;
  // A dump of IPv6 may hold other families where the kernel lacks it.
  if ((!isIPv4 && family !== libc.AF_INET6) || (message.readUInt32LE(8) & RTM_F_CLONED) !== 0) return undefined;
  const address = Uint32Array.of(0, 0, isIPv4 ? 0xffff : 0, 0);
  const way: string[] = [];
  for (let at = ROUTE_HEADER; at + 4 <= message.length; ) {
    const length = message.readUInt16LE(at);
    if (length < 4 || at + length > message.length) break;
    const attribute = message.readUInt16LE(at + 2);
    const value = message.subarray(at + 4, at + length);
    if (attribute === RTA_DST && value.length === (isIPv4 ? 4 : 16)) {
      for (let word = 0; word < value.length / 4; word++) address[isIPv4 ? 3 : word] = value.readUInt32BE(word * 4);
    }
    if (WAY.includes(attribute)) way.push(`${attribute}:${value.toString('hex')}`);
    at += (length + 3) & ~3;
  }
  return { range: { address, prefix: bits + (isIPv4 ? 96 : 0) }, isIPv4, type: message[7]!, way: way.sort().join(' ') };
}
