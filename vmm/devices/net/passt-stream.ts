// The stream socket to one passt(1). Frames go over it, each after its length (32 bits,
// big-endian), like QEMU's `-netdev stream`. passt exits when the socket closes.
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { allocateIovecs, setIovec } from '../../virtio/buffers.js';
import { type CheckedFrame, HEADROOM } from './back-end.js';
import { u32 } from './frame.js';

const LENGTH = 4;
/** Linux's longest frame, and passt's. */
export const MAX_FRAME = 65535;
const BUFFER = 512 * 1024;
/** The copied part of a frame, and as many buffers as a chain can have. */
const MAX_IOVECS = 257;
/** Frames of the back end's own that wait beside the rest of one of the guest's. */
const OWN_FRAMES = 1024;

export interface PasstStreamOptions {
  loop: EventLoop;
  /** The socket, non-blocking. The stream owns it. */
  fd: number;
  /**
   * Takes a frame from passt. Returns false if it must be kept until {@link PasstStream.resume}.
   */
  onFrame(bytes: Uint8Array, start: number, length: number): boolean;
  /** There are no more frames for now. */
  onIdle(): void;
  /** {@link PasstStream.busy} has become false. */
  onReady(): void;
  /** passt broke the protocol, and is of no use any more. */
  onBroken(reason: string): void;
}

export class PasstStream implements Disposable {
  readonly #options: PasstStreamOptions;
  readonly #loop: EventLoop;
  readonly #fd: number;
  readonly #iovecs = allocateIovecs(MAX_IOVECS);
  readonly #buffer = Buffer.alloc(BUFFER);
  /** The bytes that were read and not yet delivered: from `start` to `end`. */
  #start = 0;
  #end = 0;
  /** What the socket had no room for. */
  readonly #unsent = Buffer.alloc(LENGTH + MAX_FRAME + OWN_FRAMES);
  #unsentStart = 0;
  #unsentEnd = 0;
  /** True while a frame is kept. */
  isFull = false;
  /** passt has sent something since this was last set to false. */
  isHeard = false;

  constructor(options: PasstStreamOptions) {
    this.#options = options;
    this.#loop = options.loop;
    this.#fd = options.fd;
    this.#loop.add(this.#fd, libc.EPOLLIN, (events) => this.#onEvents(events));
  }

  get busy(): boolean {
    return this.#unsentEnd > 0;
  }

  #watch(): void {
    this.#loop.modify(this.#fd, (this.isFull ? 0 : libc.EPOLLIN) | (this.busy ? libc.EPOLLOUT : 0));
  }

  #onEvents(events: number): void {
    if ((events & libc.EPOLLOUT) !== 0) this.#flush();
    if ((events & (libc.EPOLLIN | libc.EPOLLHUP | libc.EPOLLERR)) !== 0 && !this.isFull) this.#read();
  }

  #read(): void {
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const room = this.#buffer.subarray(this.#end);
    const count = libc.read(this.#fd, room, room.length);
    if (count < 0 && libc.errno() === libc.EAGAIN) return;
    if (count <= 0) {
      // The owner of the machine reports the end of passt, and its reason.
      this.#loop.remove(this.#fd);
      return;
    }
    this.isHeard = true;
    this.#end += count;
    this.resume();
  }

  /** Delivers the frames that are there, and waits for more. */
  resume(): void {
    this.isFull = false;
    while (this.#end - this.#start >= LENGTH) {
      const length = u32(this.#buffer, this.#start);
      if (length > MAX_FRAME) {
        this.#loop.remove(this.#fd);
        this.#options.onBroken(`passt sent a frame of ${length} bytes`);
        return;
      }
      if (this.#end - this.#start < LENGTH + length) break;
      if (!this.#options.onFrame(this.#buffer, this.#start + LENGTH, length)) {
        this.isFull = true;
        break;
      }
      this.#start += LENGTH + length;
    }
    this.#options.onIdle();
    this.#watch();
  }

  /** Sends one of the guest's frames. Must not be called while busy. */
  send({ memory, bytes, copied, rest, offset, length }: CheckedFrame): void {
    const start = HEADROOM - LENGTH;
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(start, length);
    setIovec(this.#iovecs, memory + start, LENGTH + copied);
    const count = 1 + rest.iovecs(offset, length - copied, this.#iovecs, 1);
    const total = LENGTH + length;
    const written = Math.max(libc.writev(this.#fd, this.#iovecs, count), 0);
    if (written === total) return;
    // A frame that was begun must be finished, as soon as there is room. On an error, a frame that
    // was not begun is dropped.
    if (written === 0 && libc.errno() !== libc.EAGAIN) return;
    const unsent = this.#unsent;
    unsent.set(bytes.subarray(start, HEADROOM + copied));
    rest.read(offset, unsent.subarray(LENGTH + copied, total));
    this.#unsentStart = written;
    this.#unsentEnd = total;
    this.#watch();
  }

  /**
   * Sends a short frame of the back end's own, after what is not sent yet. Returns false if there
   * is no room for it.
   */
  write(frame: Uint8Array): boolean {
    const end = this.#unsentEnd + LENGTH + frame.length;
    if (end > this.#unsent.length) return false;
    const wasBusy = this.busy;
    this.#unsent.writeUInt32BE(frame.length, this.#unsentEnd);
    this.#unsent.set(frame, this.#unsentEnd + LENGTH);
    this.#unsentEnd = end;
    if (wasBusy) return true;
    this.#writeUnsent();
    this.#watch();
    return true;
  }

  #flush(): void {
    this.#writeUnsent();
    this.#watch();
    if (!this.busy) this.#options.onReady();
  }

  #writeUnsent(): void {
    const unsent = this.#unsent.subarray(this.#unsentStart, this.#unsentEnd);
    const written = libc.write(this.#fd, unsent, unsent.length);
    if (written < 0 && libc.errno() !== libc.EAGAIN) this.#unsentStart = this.#unsentEnd;
    else this.#unsentStart += Math.max(written, 0);
    if (this.#unsentStart < this.#unsentEnd) return;
    this.#unsentStart = 0;
    this.#unsentEnd = 0;
  }

  /** Ends passt. */
  [Symbol.dispose](): void {
    this.#loop.remove(this.#fd);
    libc.close(this.#fd);
  }
}
