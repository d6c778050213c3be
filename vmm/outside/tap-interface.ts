// A tap interface of the host, as the owner of a machine opens it (Linux,
// Documentation/networking/tuntap.rst).
import { readFileSync } from 'node:fs';
import { hasCode, messageOf } from '../../errors/index.js';
import * as libc from '../host/libc.js';
import { MachineError } from '../machine.js';

const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** The interface is new. */
const IFF_TUN_EXCL = 0x8000;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;
/** `struct ifreq`: name, flags. */
const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;
/** Bytes of virtio's header before each frame. */
const NET_HEADER = 12;

/**
 * @returns a descriptor, non-blocking
 * @throws MachineError `no-network` if the interface does not exist or belongs to another user
 */
export function openTap(name: string): number {
  // TUNSETIFF would create a missing interface.
  if (read(`/sys/class/net/${name}/tun_flags`) === undefined) {
    throw new MachineError('no-network', `there is no tap interface ${name}: ip tuntap add ${name} mode tap`);
  }
  return attachTap(name, 0);
}

/**
 * Makes a tap interface, which goes away with its descriptor.
 * @returns a descriptor, non-blocking; undefined if there is an interface of this name
 * @throws MachineError `no-network`
 */
export function makeTap(name: string): number | undefined {
  try {
    return attachTap(name, IFF_TUN_EXCL);
  } catch (error) {
    if (error instanceof MachineError && hasCode(error.cause, 'EBUSY')) return undefined;
    throw error;
  }
}

/** @throws MachineError `no-network` */
function attachTap(name: string, flags: number): number {
  const fd = libc.open('/dev/net/tun', libc.O_RDWR | libc.O_NONBLOCK | libc.O_CLOEXEC, 0);
  const request = Buffer.alloc(IFREQ_SIZE);
  request.write(name, 0, IFNAMSIZ - 1, 'latin1');
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags, IFNAMSIZ);
  try {
    libc.check(fd, '/dev/net/tun');
    libc.check(libc.ioctlPointer(fd, TUNSETIFF, request), 'TUNSETIFF');
    libc.check(libc.ioctlPointer(fd, TUNSETVNETHDRSZ, Int32Array.of(NET_HEADER)), 'TUNSETVNETHDRSZ');
    libc.check(libc.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6), 'TUNSETOFFLOAD');
    return fd;
  } catch (cause) {
    if (fd >= 0) libc.close(fd);
    throw new MachineError('no-network', `cannot use tap interface ${name}: ${messageOf(cause)}`, { cause });
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
