// One passt(1): a child of the machine process, and the stream socket that frames go over, each
// after its length (32 bits, big-endian), like QEMU's `-netdev stream`. passt confines itself
// (namespaces, seccomp), and exits when its socket closes.
import { type ChildEnd, ChildProcess } from '../../host/child-process.js';
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { allocateIovecs, setIovec } from '../../virtio/buffers.js';
import { type CheckedFrame, HEADROOM } from './back-end.js';
import { u32 } from './frame.js';

const LENGTH = 4;
/** Linux's longest frame, and passt's. */
export const MAX_FRAME = 65535;
const BUFFER = 512 * 1024;
/** passt drops frames that do not fit into its socket. */
const SOCKET_BUFFER = 4 * 1024 * 1024;
/** The copied part of a frame, and as many buffers as a chain can have. */
const MAX_IOVECS = 257;
/** Frames of the back end's own that wait beside the rest of one of the guest's. */
const OWN_FRAMES = 1024;

export interface PasstProcessOptions {
  loop: EventLoop;
  /** Path of passt. */
  program: string;
  args: readonly string[];
  /**
   * Takes a frame from passt. Returns false if it must be kept until {@link PasstProcess.resume}.
   */
  onFrame(bytes: Uint8Array, start: number, length: number): boolean;
  /** There are no more frames for now. */
  onIdle(): void;
  /** {@link PasstProcess.busy} has become false. */
  onReady(): void;
  /** passt exited. */
  onEnd(reason: string): void;
}

export class PasstProcess implements Disposable {
  readonly #options: PasstProcessOptions;
  readonly #loop: EventLoop;
  readonly #fd: number;
  readonly #child: ChildProcess;
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
  #reason: string | undefined;
  /** passt has sent something since this was last set to false. */
  isHeard = false;

  /** @throws MachineError `host` */
  constructor(options: PasstProcessOptions) {
    this.#options = options;
    this.#loop = options.loop;
    const [ours, theirs] = libc.createSocketPair();
    this.#fd = ours;
    libc.fcntl(ours, libc.F_SETFL, libc.O_RDWR | libc.O_NONBLOCK);
    for (const fd of [ours, theirs]) setSendBuffer(fd);
    try {
      this.#child = new ChildProcess({
        program: options.program,
        args: options.args,
        inherited: [theirs],
        loop: options.loop,
        onOutput: () => {},
        onEnd: (end) => options.onEnd(this.#reason ?? describe(end)),
      });
    } catch (error) {
      libc.close(ours);
      throw error;
    } finally {
      libc.close(theirs);
    }
    this.#loop.add(ours, libc.EPOLLIN, (events) => this.#onEvents(events));
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
      // The end of the child reports the reason.
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
        this.kill(`passt sent a frame of ${length} bytes`);
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

  /** Kills passt. {@link PasstProcessOptions.onEnd} gets this reason. */
  kill(reason: string): void {
    this.#reason ??= reason;
    this.#loop.remove(this.#fd);
    this.#child.kill();
  }

  /** Ends passt. */
  [Symbol.dispose](): void {
    this.#child[Symbol.dispose]();
    this.#loop.remove(this.#fd);
    libc.close(this.#fd);
  }
}

function setSendBuffer(fd: number): void {
  const size = Int32Array.of(SOCKET_BUFFER);
  // Root can exceed the host's limit; other users get as much as the host allows.
  if (libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDBUFFORCE, size, 4) === 0) return;
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDBUF, size, 4);
}

function describe({ outcome, stderr }: ChildEnd): string {
  return `passt ended (${outcome})${lastWords(stderr)}`;
}

/** passt's last line of output, without its messages about a missing system log. */
function lastWords(said: string): string {
  const lines = said.split('\n').filter((line) => line !== '' && !/syslog|^Don't run as root/.test(line));
  return lines.length === 0 ? '' : `: ${lines.pop()}`;
}
