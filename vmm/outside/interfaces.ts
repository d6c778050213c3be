// The Ethernet interfaces of a network namespace with what is set on them, read from its kernel by
// netlink (rtnetlink(7)). The thread is in the namespace.
import { formatAddress, parseAddress } from '../../addresses/ip.js';
import { RTN_UNICAST } from './host-routes.js';
import { eachAttribute, type MessageVisitor, Netlink } from './netlink.js';
import { openRouteSocket } from './route-socket.js';

/** What is set on an interface. All addresses are text. */
export interface Interface {
  index: number;
  name: string;
  mac: string;
  mtu: number;
  /** With the length of their prefix: `10.88.0.5/16`. Without those of the link alone. */
  addresses: string[];
  /** Of default routes. */
  gateways: string[];
  /** Other routes that an address does not bring with it: `10.0.0.0/8 via 10.88.0.1`. */
  routes: string[];
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
const RT_TABLE_MAIN = 254;
/** Those that addresses bring with them. */
const RTPROT_KERNEL = 2;

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
  read(RTM_GETROUTE, ROUTE_HEADER, RTM_NEWROUTE, (message) => {
    const [, prefix, , , table, protocol, , type] = message;
    if (table !== RT_TABLE_MAIN || protocol === RTPROT_KERNEL || type !== RTN_UNICAST) return;
    const { range, gateway, index } = parseRoute(message);
    const into = found.get(index);
    if (prefix === 0 && gateway !== undefined) into?.gateways.push(gateway);
    else into?.routes.push(`${range ?? 'default'}/${prefix}${gateway === undefined ? '' : ` via ${gateway}`}`);
  });
  return [...found.values()];
}

function parseLink(message: Buffer): Omit<Interface, 'index'> {
  const link = { name: '', mac: '', mtu: 0, addresses: [], gateways: [], routes: [] };
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

function parseRoute(message: Buffer): { range?: string; gateway?: string; index: number } {
  const route: ReturnType<typeof parseRoute> = { index: 0 };
  eachAttribute(message, ROUTE_HEADER, (type, value) => {
    if (type === RTA_DST) route.range = addressText(value);
    if (type === RTA_GATEWAY) route.gateway = addressText(value);
    if (type === RTA_OIF) route.index = value.readUInt32LE(0);
  });
  return route;
}

function addressText(value: Buffer): string {
  if (value.length === 4) return value.join('.');
  const groups = Array.from({ length: 8 }, (_, group) => value.readUInt16BE(group * 2).toString(16));
  return formatAddress(parseAddress(groups.join(':')));
}
