// The host's routes, of all routing tables, read from its kernel by netlink (rtnetlink(7)). The
// socket belongs to the network namespace in which it was made.
import type { AddressRange } from '../../addresses/ip.js';
import * as libc from '../host/libc.js';
import { eachAttribute, Netlink } from './netlink.js';

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

const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
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

/** Attempts to read the routes while they change. */
const ATTEMPTS = 3;

export class HostRoutes implements Disposable {
  readonly #netlink: Netlink;

  /** @param fd from openRouteSocket, owned from now on */
  constructor(fd: number) {
    this.#netlink = new Netlink(fd);
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
    const request = Buffer.alloc(ROUTE_HEADER);
    request[0] = family;
    const routes: Route[] = [];
    const isWhole = this.#netlink.dump(RTM_GETROUTE, request, (type, message) => {
      const route = type === RTM_NEWROUTE ? parseRoute(message) : undefined;
      if (route !== undefined) routes.push(route);
    });
    return { routes, isWhole };
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
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
  eachAttribute(message, ROUTE_HEADER, (attribute, value) => {
    if (attribute === RTA_DST && value.length === (isIPv4 ? 4 : 16)) {
      for (let word = 0; word < value.length / 4; word++) address[isIPv4 ? 3 : word] = value.readUInt32BE(word * 4);
    }
    if (WAY.includes(attribute)) way.push(`${attribute}:${value.toString('hex')}`);
  });
  return { range: { address, prefix: bits + (isIPv4 ? 96 : 0) }, isIPv4, type: message[7]!, way: way.sort().join(' ') };
}
