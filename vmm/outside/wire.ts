// The wire of an interface that an engine made in a network namespace becomes a guest's: a tap
// interface beside it, and all that arrives at one is sent from the other (tc-u32(8), tc-mirred(8)).
// The interface keeps its addresses, so the engine finds what it made. The stack of the namespace no
// longer hears what arrives, so the guest alone answers.
import { existsSync, writeFileSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import * as libc from '../host/libc.js';
import { MachineError, type WireSpec } from '../machine.js';
import { readInterfaces } from './interfaces.js';
import { attribute, Netlink, NLM_F_CREATE, NLM_F_EXCL } from './netlink.js';
import { inNetworkNamespace } from './network-namespace.js';
import { openRouteSocket } from './route-socket.js';
import { makeTap } from './tap-interface.js';

/**
 * The tap interface of the network device of this index. One machine has the namespace: all use
 * these names.
 */
export function wireTap(index: number): string {
  return `tsvm${index}`;
}

export const NAMESPACE_TAKEN = 'another machine has the network of this namespace';

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_NEWTFILTER = 44;

// `struct ifinfomsg`
const LINK_HEADER = 16;
const IFF_UP = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;

// `struct tcmsg`
const TC_HEADER = 20;
const TC_H_INGRESS = 0xfffffff1;
const INGRESS_HANDLE = 0xffff0000;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
/** The first priority, of all protocols (ETH_P_ALL, in the order of the network). */
const ALL_FRAMES = 0x0001_0300;

// tc-u32(8), tc-mirred(8)
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const SELECTOR = 16;
const KEY = 16;
const FIRST_ACTION = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const MIRRED = 28;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;

/**
 * @returns a descriptor of the tap interface, which goes away with it
 * @throws MachineError `no-network`
 */
export function openWire(spec: WireSpec): number {
  try {
    return inNetworkNamespace(spec.namespace, () => connect(spec));
  } catch (cause) {
    if (cause instanceof MachineError) throw cause;
    throw new MachineError('no-network', `interface ${spec.interface}: ${messageOf(cause)}`, { cause });
  }
}

function connect(spec: WireSpec): number {
  const outer = readInterfaces().find(({ name }) => name === spec.interface);
  if (outer === undefined) throw new MachineError('no-network', `there is no interface ${spec.interface}`);
  const tap = makeTap(spec.tap);
  if (tap === undefined) {
    throw new MachineError('no-network', NAMESPACE_TAKEN);
  }
  try {
    // The stack of the namespace is to say nothing to the guest. A kernel without IPv6 has no such file.
    const setting = `/proc/sys/net/ipv6/conf/${spec.tap}/disable_ipv6`;
    if (existsSync(setting)) writeFileSync(setting, '1');
    using netlink = new Netlink(openRouteSocket());
    const inner = indexOf(netlink, spec.tap);
    netlink.request(RTM_NEWLINK, 0, Buffer.concat([linkMessage(inner, IFF_UP), attribute(IFLA_MTU, u32(outer.mtu))]));
    for (const [from, to] of [
      [outer.index, inner],
      [inner, outer.index],
    ] as const) {
      redirect(netlink, from, to);
    }
    return tap;
  } catch (error) {
    libc.close(tap);
    throw error;
  }
}

function indexOf(netlink: Netlink, name: string): number {
  let index = 0;
  const request = Buffer.concat([linkMessage(0, 0), attribute(IFLA_IFNAME, Buffer.from(`${name}\0`))]);
  netlink.request(RTM_GETLINK, 0, request, (_, message) => {
    index = message.readUInt32LE(4);
  });
  return index;
}

/** All that arrives at one interface is sent from another. */
function redirect(netlink: Netlink, from: number, to: number): void {
  const ingress = Buffer.concat([
    tcMessage(from, INGRESS_HANDLE, TC_H_INGRESS, 0),
    attribute(TCA_KIND, Buffer.from('ingress\0')),
  ]);
  try {
    // That of a machine that is gone.
    netlink.request(RTM_DELQDISC, 0, ingress);
  } catch {
    // There is none.
  }
  netlink.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ingress);
  const selector = Buffer.alloc(SELECTOR + KEY);
  selector[0] = TC_U32_TERMINAL;
  selector[2] = 1;
  const mirred = Buffer.alloc(MIRRED);
  mirred.writeInt32LE(TC_ACT_STOLEN, 8);
  mirred.writeInt32LE(TCA_EGRESS_REDIR, 20);
  mirred.writeUInt32LE(to, 24);
  const action = [
    attribute(TCA_ACT_KIND, Buffer.from('mirred\0')),
    attribute(TCA_ACT_OPTIONS, attribute(TCA_MIRRED_PARMS, mirred)),
  ];
  const options = [attribute(TCA_U32_SEL, selector), attribute(TCA_U32_ACT, attribute(FIRST_ACTION, ...action))];
  const filter = [
    tcMessage(from, 0, INGRESS_HANDLE, ALL_FRAMES),
    attribute(TCA_KIND, Buffer.from('u32\0')),
    attribute(TCA_OPTIONS, ...options),
  ];
  netlink.request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, Buffer.concat(filter));
}

/** `struct ifinfomsg`, which changes these flags. */
function linkMessage(index: number, flags: number): Buffer {
  const message = Buffer.alloc(LINK_HEADER);
  message.writeUInt32LE(index, 4);
  message.writeUInt32LE(flags, 8);
  message.writeUInt32LE(flags, 12);
  return message;
}

/** `struct tcmsg` */
function tcMessage(index: number, handle: number, parent: number, info: number): Buffer {
  const message = Buffer.alloc(TC_HEADER);
  for (const [at, value] of [index, handle, parent, info].entries()) message.writeUInt32LE(value, 4 + at * 4);
  return message;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
