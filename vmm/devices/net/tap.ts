// A tap interface of the host as a network device's back end (Linux,
// Documentation/networking/tuntap.rst). Frames have virtio's own header before them, so the kernel
// does checksums and segmentation.
import { readFileSync } from 'node:fs';
import { messageOf } from '../../../errors/index.js';
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { MachineError, type TapSpec } from '../../machine.js';
import { allocateIovecs, setIovec } from '../../virtio/buffers.js';
import { type CheckedFrame, type FrameReceiver, HEADROOM, type NetBackEnd } from './back-end.js';
import { NET_HEADER } from './header.js';

const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;
/** `struct ifreq`: name, flags. */
const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;

const MAX_IOVECS = 257;
/** The largest segment, its headers, and virtio's header. */
const BUFFER = 65536 + 256;
/** Frames received in one turn of the event loop. */
const BATCH = 64;

export class TapBackEnd implements NetBackEnd {
  readonly offloads = true;
  /** A full tap interface drops frames, as any network does. */
  readonly busy = false;
  readonly #loop: EventLoop;
  readonly #fd: number;
  readonly #iovecs = allocateIovecs(MAX_IOVECS);
  readonly #buffer = new Uint8Array(BUFFER);
  readonly #header = this.#buffer.subarray(0, NET_HEADER);
  /** Length of the frame in the buffer that the guest had no room for; 0: none. */
  #kept = 0;
  #receiver: FrameReceiver | undefined;

  /**
   * @throws MachineError `no-network` if the interface does not exist or belongs to another user
   */
  constructor({ interface: name }: TapSpec, loop: EventLoop) {
    this.#loop = loop;
    this.#fd = openTap(name);
    loop.add(this.#fd, 0, () => this.#read());
  }

  attach(receiver: FrameReceiver): void {
    this.#receiver = receiver;
    this.resume();
  }

  detach(): void {
    this.#receiver = undefined;
    this.#kept = 0;
    this.#loop.modify(this.#fd, 0);
  }

  #read(): void {
    for (let budget = BATCH; budget > 0 && this.#kept === 0; budget--) {
      const count = libc.read(this.#fd, this.#buffer, BUFFER);
      if (count < 0 && libc.errno() !== libc.EAGAIN && libc.errno() !== libc.EINTR) {
        // The interface was removed.
        this.#loop.remove(this.#fd);
        this.#receiver?.lost();
      }
      if (count <= NET_HEADER) break;
      this.#kept = count;
      this.#deliver();
    }
    if (this.#kept > 0) this.#loop.modify(this.#fd, 0);
    this.#receiver?.flush();
  }

  #deliver(): void {
    const receiver = this.#receiver;
    if (receiver?.receive(this.#header, this.#buffer, NET_HEADER, this.#kept - NET_HEADER) ?? true) this.#kept = 0;
  }

  resume(): void {
    if (this.#kept > 0) this.#deliver();
    if (this.#kept === 0) this.#loop.modify(this.#fd, libc.EPOLLIN);
    this.#receiver?.flush();
  }

  send({ header, memory, bytes, copied, rest, offset, length }: CheckedFrame): void {
    const start = HEADROOM - NET_HEADER;
    bytes.set(header.bytes, start);
    setIovec(this.#iovecs, memory + start, NET_HEADER + copied);
    libc.writev(this.#fd, this.#iovecs, 1 + rest.iovecs(offset, length - copied, this.#iovecs, 1));
  }

  [Symbol.dispose](): void {
    this.#loop.remove(this.#fd);
    libc.close(this.#fd);
  }
}

function openTap(name: string): number {
  // TUNSETIFF would create a missing interface.
  if (read(`/sys/class/net/${name}/tun_flags`) === undefined) {
    throw new MachineError('no-network', `there is no tap interface ${name}: ip tuntap add ${name} mode tap`);
  }
  const fd = libc.open('/dev/net/tun', libc.O_RDWR | libc.O_NONBLOCK | libc.O_CLOEXEC, 0);
  const request = Buffer.alloc(IFREQ_SIZE);
  request.write(name, 0, IFNAMSIZ - 1, 'latin1');
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, IFNAMSIZ);
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
