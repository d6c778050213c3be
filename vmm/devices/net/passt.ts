// passt(1) as a network device's back end: a child of the machine process that turns the guest's
// connections into sockets of the host. Frames go over a stream socket, each after its length (32
// bits, big-endian), like QEMU's `-netdev stream`. passt confines itself (namespaces, seccomp), and
// exits when its socket closes.
import { type ChildEnd, ChildProcess, findProgram } from '../../host/child-process.js';
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { MachineError, type NetworkSpec, type PasstSpec, type PublishedPorts } from '../../machine.js';
import { allocateIovecs, setIovec } from '../../virtio/buffers.js';
import { type CheckedFrame, type FrameReceiver, HEADROOM, type NetBackEnd } from './back-end.js';
import { ETHERNET_HEADER, ETHERTYPE_ARP, u16, u32 } from './frame.js';
import { NET_HEADER, VIRTIO_NET_HDR_F_DATA_VALID } from './header.js';
import { HostPorts } from './host-ports.js';
import { passtArguments } from './passt-arguments.js';
import { greeting } from './passt-greeting.js';

const PROGRAM = 'passt';
const LENGTH = 4;
/** Linux's longest frame, and passt's. */
const MAX_FRAME = 65535;
const BUFFER = 512 * 1024;
/** passt drops frames that do not fit into its socket. */
const SOCKET_BUFFER = 4 * 1024 * 1024;
/** The copied part of a frame, and as many buffers as a chain can have. */
const MAX_IOVECS = 257;

export interface PasstOptions {
  loop: EventLoop;
  /** passt is serving, and these ports of the host are bound. */
  onUp(ports: PublishedPorts[]): void;
  /** passt exited. Before `onUp`, it could not do what was asked of it. */
  onDown(error: MachineError): void;
}

export class PasstBackEnd implements NetBackEnd {
  /** passt accepts segments of any size, and ignores the guest's checksums. */
  readonly offloads = true;
  readonly #loop: EventLoop;
  readonly #options: PasstOptions;
  readonly #fd: number;
  readonly #child: ChildProcess;
  /** Reserved until passt has bound them. */
  readonly #ports: HostPorts;
  readonly #iovecs = allocateIovecs(MAX_IOVECS);
  /** passt's checksums are valid: the guest need not verify them. */
  readonly #header = new Uint8Array(NET_HEADER);
  readonly #buffer = Buffer.alloc(BUFFER);
  /** The bytes that were read and not yet delivered: from `start` to `end`. */
  #start = 0;
  #end = 0;
  /** The rest of a frame that the socket had no room for. */
  readonly #unsent = Buffer.alloc(LENGTH + MAX_FRAME);
  #unsentStart = 0;
  #unsentEnd = 0;
  #receiver: FrameReceiver | undefined;
  #up = false;
  #down = false;
  /** The guest has no room. */
  #full = false;

  /**
   * Starts passt.
   * @throws MachineError `no-network` if it is not installed, or a port of the host is not
   * available
   */
  constructor(spec: NetworkSpec, backEnd: PasstSpec, options: PasstOptions) {
    this.#options = options;
    this.#loop = options.loop;
    const program = findProgram(PROGRAM);
    if (program === undefined) throw new MachineError('no-network', 'passt is not installed: apt-get install passt');
    this.#ports = new HostPorts(backEnd.ports, spec.gateways.length > 1 ? ['0.0.0.0', '::'] : ['0.0.0.0']);
    this.#header[0] = VIRTIO_NET_HDR_F_DATA_VALID;
    const [ours, theirs] = libc.createSocketPair();
    this.#fd = ours;
    libc.fcntl(ours, libc.F_SETFL, libc.O_RDWR | libc.O_NONBLOCK);
    for (const fd of [ours, theirs]) setSendBuffer(fd);
    this.#child = new ChildProcess({
      program,
      args: passtArguments(spec, backEnd, this.#ports.chosen),
      inherited: [theirs],
      loop: options.loop,
      onOutput: () => {},
      onEnd: (end) => this.#ended(end),
    });
    libc.close(theirs);
    this.#loop.add(ours, libc.EPOLLIN, (events) => this.#onEvents(events));
    // The reply shows that passt is serving.
    this.#write(greeting(spec));
  }

  get busy(): boolean {
    return this.#unsentEnd > 0;
  }

  attach(receiver: FrameReceiver): void {
    this.#receiver = receiver;
    if (this.#down) receiver.lost();
    else this.resume();
  }

  detach(): void {
    this.#receiver = undefined;
    this.#full = false;
    this.#watch();
  }

  #ended({ outcome, stderr }: ChildEnd): void {
    this.#fail(new MachineError('no-network', `passt ended (${outcome})${lastWords(stderr)}`));
  }

  #fail(error: MachineError): void {
    if (this.#down) return;
    this.#down = true;
    this.#loop.remove(this.#fd);
    this.#receiver?.lost();
    this.#options.onDown(error);
  }

  #watch(): void {
    if (this.#down) return;
    // Frames are dropped until the guest's driver is ready: passt then sends only what remote hosts
    // sent unasked.
    this.#loop.modify(this.#fd, (this.#full ? 0 : libc.EPOLLIN) | (this.busy ? libc.EPOLLOUT : 0));
  }

  #onEvents(events: number): void {
    if ((events & libc.EPOLLOUT) !== 0) this.#flushUnsent();
    if ((events & (libc.EPOLLIN | libc.EPOLLHUP | libc.EPOLLERR)) !== 0 && !this.#full) this.#read();
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
      // `#ended` reports the reason.
      this.#loop.modify(this.#fd, 0);
      this.#loop.remove(this.#fd);
      return;
    }
    this.#end += count;
    this.resume();
  }

  resume(): void {
    this.#full = false;
    while (this.#end - this.#start >= LENGTH) {
      const length = u32(this.#buffer, this.#start);
      if (length > MAX_FRAME) {
        this.#fail(new MachineError('no-network', `passt sent a frame of ${length} bytes`));
        return;
      }
      if (this.#end - this.#start < LENGTH + length) break;
      if (!this.#receive(this.#start + LENGTH, length)) {
        this.#full = true;
        break;
      }
      this.#start += LENGTH + length;
    }
    this.#receiver?.flush();
    this.#watch();
  }

  #receive(at: number, length: number): boolean {
    if (!this.#up) {
      this.#up = true;
      this.#ports[Symbol.dispose]();
      this.#options.onUp(this.#ports.bound);
      // The reply to the greeting, which the guest did not send.
      if (length >= ETHERNET_HEADER && u16(this.#buffer, at + 12) === ETHERTYPE_ARP) return true;
    }
    return this.#receiver?.receive(this.#header, this.#buffer, at, length) ?? true;
  }

  send({ memory, bytes, copied, rest, offset, length }: CheckedFrame): void {
    if (this.#down || length > MAX_FRAME) return;
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

  #write(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      this.#unsent.writeUInt32BE(frame.length, this.#unsentEnd);
      this.#unsent.set(frame, this.#unsentEnd + LENGTH);
      this.#unsentEnd += LENGTH + frame.length;
    }
    this.#flushUnsent();
  }

  #flushUnsent(): void {
    const unsent = this.#unsent.subarray(this.#unsentStart, this.#unsentEnd);
    const written = libc.write(this.#fd, unsent, unsent.length);
    if (written < 0 && libc.errno() !== libc.EAGAIN) this.#unsentStart = this.#unsentEnd;
    else this.#unsentStart += Math.max(written, 0);
    if (this.#unsentStart < this.#unsentEnd) {
      this.#watch();
      return;
    }
    this.#unsentStart = 0;
    this.#unsentEnd = 0;
    this.#watch();
    this.#receiver?.ready();
  }

  [Symbol.dispose](): void {
    this.#ports[Symbol.dispose]();
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

/** passt's last line of output, without its messages about a missing system log. */
function lastWords(said: string): string {
  const lines = said.split('\n').filter((line) => line !== '' && !/syslog|^Don't run as root/.test(line));
  return lines.length === 0 ? '' : `: ${lines.pop()}`;
}
