// passt(1) as a network device's back end, which turns the guest's datagrams and pings into those of
// the host. The owner of the machine starts it. A passt that ends or stands still is replaced by
// another with the same ports.
import type { EventLoop } from '../../host/event-loop.js';
import { Timer } from '../../host/timer.js';
import { MachineError, type NetworkSpec } from '../../machine.js';
import type { CheckedFrame, FrameReceiver, NetBackEnd } from './back-end.js';
import { ETHERNET_HEADER, ETHERTYPE_ARP, u16 } from './frame.js';
import { NET_HEADER, VIRTIO_NET_HDR_F_DATA_VALID } from './header.js';
import { greeting, isProbeReply, probe } from './passt-greeting.js';
import { MAX_FRAME, PasstStream } from './passt-stream.js';

/** Milliseconds before passt is started again, doubled each time, and at most. */
const FIRST_DELAY = 100;
const MAX_DELAY = 10_000;
/** Milliseconds after which a passt is one that works. The next one is started without a delay. */
const PROVEN_AFTER = 60_000;
/**
 * Milliseconds between two questions whether passt still answers. One that has not answered for two
 * of them stands still.
 */
const PATIENCE = 10_000;
const MAX_SILENCE = 2;

/** The owner of the machine, which starts passt outside of the machine process. */
export interface PasstOwner {
  /** Asks for another passt. {@link PasstBackEnd.started} or `ended` answers. */
  restart(): void;
  /** Asks for the end of passt. {@link PasstBackEnd.ended} answers. */
  kill(reason: string): void;
}

export interface PasstOptions {
  loop: EventLoop;
  owner: PasstOwner;
  /** passt is serving. Called again after `onDown`. */
  onUp(): void;
  /**
   * passt ended. Before the first `onUp`, it could not do what was asked of it, and is not started
   * again.
   */
  onDown(error: MachineError): void;
  /** Default: {@link PATIENCE}. */
  patience?: number;
}

export class PasstBackEnd implements NetBackEnd {
  /** passt accepts segments of any size, and ignores the guest's checksums. */
  readonly offloads = true;
  readonly #spec: NetworkSpec;
  readonly #options: PasstOptions;
  /** Fires when passt is asked whether it answers, or is started again. */
  readonly #timer: Timer;
  /** passt's checksums are valid: the guest need not verify them. */
  readonly #header = new Uint8Array(NET_HEADER);
  #stream: PasstStream | undefined;
  #receiver: FrameReceiver | undefined;
  /** The current passt serves. */
  #isUp = false;
  #wasUp = false;
  #failed = false;
  #silence = 0;
  /** Time at which the current passt began to serve. */
  #upSince = 0;
  #delay = 0;

  /** @param socket to a passt that has been started. The back end owns it. */
  constructor(spec: NetworkSpec, socket: number, options: PasstOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#header[0] = VIRTIO_NET_HDR_F_DATA_VALID;
    this.#timer = new Timer(options.loop, () => this.#onTime());
    this.started(socket);
  }

  /** @param socket to a new passt. The back end owns it. */
  started(socket: number): void {
    this.#stream?.[Symbol.dispose]();
    const stream = new PasstStream({
      loop: this.#options.loop,
      fd: socket,
      onFrame: (bytes, start, length) => this.#receive(bytes, start, length),
      onIdle: () => this.#receiver?.flush(),
      onReady: () => this.#receiver?.ready(),
      onBroken: (reason) => this.#options.owner.kill(reason),
    });
    this.#stream = stream;
    this.#silence = 0;
    this.#timer.set(this.#patience);
    // The reply shows that passt is serving.
    for (const frame of greeting(this.#spec)) stream.write(frame);
  }

  get #patience(): number {
    return this.#options.patience ?? PATIENCE;
  }

  get busy(): boolean {
    return this.#stream?.busy ?? false;
  }

  attach(receiver: FrameReceiver): void {
    this.#receiver = receiver;
    if (this.#failed) receiver.lost();
    else this.resume();
  }

  /**
   * Frames are dropped until the guest's driver is ready: passt then sends only what remote hosts
   * sent unasked.
   */
  detach(): void {
    this.#receiver = undefined;
    this.resume();
  }

  resume(): void {
    this.#stream?.resume();
  }

  #receive(bytes: Uint8Array, at: number, length: number): boolean {
    if (!this.#isUp) {
      this.#serves();
      // The reply to the greeting, which the guest did not send.
      if (length >= ETHERNET_HEADER && u16(bytes, at + 12) === ETHERTYPE_ARP) return true;
    }
    if (isProbeReply(bytes, at, length)) return true;
    return this.#receiver?.receive(this.#header, bytes, at, length) ?? true;
  }

  #serves(): void {
    this.#isUp = true;
    this.#wasUp = true;
    this.#upSince = performance.now();
    this.#options.onUp();
  }

  send(checked: CheckedFrame): void {
    const stream = this.#stream;
    if (stream === undefined || checked.length > MAX_FRAME) return;
    stream.send(checked);
  }

  #onTime(): void {
    const stream = this.#stream;
    if (stream === undefined) {
      this.#options.owner.restart();
      return;
    }
    this.#timer.set(this.#patience);
    // A guest that takes no frames keeps passt's answers waiting. The first start has no deadline.
    const isSilent = this.#wasUp && !stream.isHeard && !stream.isFull;
    this.#silence = isSilent ? this.#silence + 1 : 0;
    if (this.#silence > MAX_SILENCE) {
      this.#options.owner.kill('passt does not answer');
      return;
    }
    stream.isHeard = false;
    stream.write(probe(this.#spec));
  }

  /** passt has ended, or could not be started again. */
  ended(reason: string): void {
    if (this.#failed) return;
    const wasUp = this.#isUp;
    this.#stream?.[Symbol.dispose]();
    this.#stream = undefined;
    this.#isUp = false;
    if (!this.#wasUp) {
      this.#failed = true;
      this.#timer.clear();
      this.#receiver?.lost();
      this.#options.onDown(new MachineError('no-network', reason));
      return;
    }
    if (wasUp && performance.now() - this.#upSince > PROVEN_AFTER) this.#delay = 0;
    this.#restartLater();
    if (!wasUp) return;
    this.#options.onDown(new MachineError('no-network', reason));
    // What waited for passt to read is lost.
    this.#receiver?.ready();
  }

  #restartLater(): void {
    this.#timer.set(this.#delay);
    this.#delay = Math.min(Math.max(FIRST_DELAY, this.#delay * 2), MAX_DELAY);
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
    this.#stream?.[Symbol.dispose]();
    this.#stream = undefined;
  }
}
