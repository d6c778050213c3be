// A tap interface of the host as a network device's back end (Linux,
// Documentation/networking/tuntap.rst). Frames have virtio's own header before them, so the kernel
// does checksums and segmentation.
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { allocateIovecs, setIovec } from '../../virtio/buffers.js';
import { type CheckedFrame, type FrameReceiver, HEADROOM, type NetBackEnd } from './back-end.js';
import { NET_HEADER } from './header.js';

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

  /** @param fd from openTap. The back end owns it. */
  constructor(fd: number, loop: EventLoop) {
    this.#loop = loop;
    this.#fd = fd;
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
