// The Ethernet interfaces of a network namespace with what is set on them, read from its kernel by
// netlink (rtnetlink(7)). The thread is in the namespace.
import { formatAddress, parseAddress } from '../../addresses/ip.js';
import { RTN_UNICAST } from './host-routes.js';
import { attribute, eachAttribute, type MessageVisitor, Netlink } from './netlink.js';
import { openRouteSocket } from './route-socket.js';

/** What is set on an interface. All addresses are text. */
export interface Interface {
  index: number;
  name: string;
  mac: string;
  mtu: number;
  /** With the length of their prefix: `10.88.0.5/16`. Without those of the link alone. */
  addresses: string[];
  /**
   * The routes of the main table over it, in an order in which they can be made. The first interface has
   * those that lead nowhere.
   */
  routes: Route[];
}

export interface Route {
  /** `10.0.0.0/8 via 10.88.0.1` */
  text: string;
  /**
   * A message for another kernel (rtnetlink(7)), with a place for the interface. Undefined: over
   * several.
   */
  message: Buffer | undefined;
}

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;

// `struct ifinfomsg`
const LINK_HEADER = 16;
const ARPHRD_ETHER = 1;
const IFF_UP = 1;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;

// `struct ifaddrmsg`
const ADDRESS_HEADER = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RT_SCOPE_LINK = 253;

// `struct rtmsg`
const ROUTE_HEADER = 12;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_VIA = 18;
const RTA_PREF = 20;
const RTA_ENCAP = 22;
const RTA_NH_ID = 30;
/** What a route is made of. The rest of what a kernel tells is its state. */
const MADE_OF: ReadonlySet<number> = new Set([
  ...[RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_VIA, RTA_PREF],
]);
const NOT_PLAIN: ReadonlySet<number> = new Set([RTA_MULTIPATH, RTA_ENCAP, RTA_NH_ID]);
const RT_TABLE_MAIN = 254;
const RTPROT_KERNEL = 2;
const RTNH_F_ONLINK = 4;
/** By the number of the type. */
const NOWHERE = new Map([
  [6, 'blackhole'],
  [7, 'unreachable'],
  [8, 'prohibit'],
  [9, 'throw'],
]);
/** Each kernel makes it by itself, for each interface. */
const OF_THE_LINK = 'fe80::/64';

/** Reads the Ethernet interfaces that are up. @throws libc.SystemError */
export function readInterfaces(): Interface[] {
  using netlink = new Netlink(openRouteSocket());
  const found = new Map<number, Interface>();
  const read = (request: number, length: number, answer: number, visit: (message: Buffer) => void) => {
    const onMessage: MessageVisitor = (type, message) => type === answer && visit(message);
    netlink.dump(request, Buffer.alloc(length), onMessage);
  };
  read(RTM_GETLINK, LINK_HEADER, RTM_NEWLINK, (message) => {
    const isUp = (message.readUInt32LE(8) & IFF_UP) !== 0;
    const index = message.readUInt32LE(4);
    if (message.readUInt16LE(2) === ARPHRD_ETHER && isUp) found.set(index, { index, ...parseLink(message) });
  });
  read(RTM_GETADDR, ADDRESS_HEADER, RTM_NEWADDR, (message) => {
    const [, prefix, , scope] = message;
    const address = parseLocal(message);
    if (address === undefined || scope === RT_SCOPE_LINK) return;
    found.get(message.readUInt32LE(4))?.addresses.push(`${address}/${prefix}`);
  });
  const [first] = found.values();
  read(RTM_GETROUTE, ROUTE_HEADER, RTM_NEWROUTE, (message) => {
    const [, , , , table, protocol, , type = 0] = message;
    const isPlain = type === RTN_UNICAST;
    if (table !== RT_TABLE_MAIN || !(isPlain || (NOWHERE.has(type) && protocol !== RTPROT_KERNEL))) return;
    const { route, index } = parseRoute(message, NOWHERE.get(type));
    const over = isPlain && route.message !== undefined ? found.get(index) : first;
    if (protocol !== RTPROT_KERNEL || route.text !== OF_THE_LINK) over?.routes.push(route);
  });
  for (const { routes } of found.values()) {
    // What has no gateway leads to the gateways of others.
    routes.sort((one, other) => Number(one.text.includes(' via ')) - Number(other.text.includes(' via ')));
  }
  return [...found.values()];
}

function parseLink(message: Buffer): Omit<Interface, 'index'> {
  const link = { name: '', mac: '', mtu: 0, addresses: [], routes: [] };
  eachAttribute(message, LINK_HEADER, (type, value) => {
    if (type === IFLA_IFNAME) link.name = value.toString('latin1', 0, value.length - 1);
    if (type === IFLA_ADDRESS) link.mac = value.toString('hex').replace(/(?<=.)(?=(?:..)+$)/g, ':');
    if (type === IFLA_MTU) link.mtu = value.readUInt32LE(0);
  });
  return link;
}

/** The address on this side: of a link between two alone, there is one on the other side too. */
function parseLocal(message: Buffer): string | undefined {
  let local: string | undefined;
  let any: string | undefined;
  eachAttribute(message, ADDRESS_HEADER, (type, value) => {
    if (type === IFA_LOCAL) local = addressText(value);
    if (type === IFA_ADDRESS) any = addressText(value);
  });
  return local ?? any;
}

/** @param nowhere why it has no interface: `blackhole` */
function parseRoute(message: Buffer, nowhere: string | undefined): { route: Route; index: number } {
  const header = Buffer.from(message.subarray(0, ROUTE_HEADER));
  header.writeUInt32LE(header.readUInt32LE(8) & RTNH_F_ONLINK, 8);
  const parts: Buffer[] = [header];
  let index = 0;
  let range = 'default';
  let via = '';
  let isPlain = true;
  eachAttribute(message, ROUTE_HEADER, (type, value) => {
    if (type === RTA_DST) range = `${addressText(value)}/${message[1]}`;
    if (type === RTA_GATEWAY) via = ` via ${addressText(value)}`;
    if (type === RTA_VIA) via = ` via ${value.toString('hex')}`;
    if (type === RTA_OIF) index = value.readUInt32LE(0);
    if (NOT_PLAIN.has(type)) isPlain = false;
    if (MADE_OF.has(type) && !(type === RTA_OIF && nowhere !== undefined)) parts.push(attribute(type, value));
  });
  const text = `${nowhere === undefined ? '' : `${nowhere} `}${range}${via}`;
  return { route: { text, message: isPlain ? Buffer.concat(parts) : undefined }, index };
}

function addressText(value: Buffer): string {
  if (value.length === 4) return value.join('.');
  const groups = Array.from({ length: 8 }, (_, group) => value.readUInt16BE(group * 2).toString(16));
  return formatAddress(parseAddress(groups.join(':')));
}
