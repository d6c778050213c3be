// passt(1) as a network device's back end, which turns the guest's datagrams and pings into those of
// the host. A passt that ends or stands still is replaced by another with the same ports.
import { findProgram } from '../../host/child-process.js';
import type { EventLoop } from '../../host/event-loop.js';
import { Timer } from '../../host/timer.js';
import { MachineError, type NetworkSpec, type PasstSpec, type PublishedPorts } from '../../machine.js';
import type { CheckedFrame, FrameReceiver, NetBackEnd } from './back-end.js';
import { ETHERNET_HEADER, ETHERTYPE_ARP, u16 } from './frame.js';
import { NET_HEADER, VIRTIO_NET_HDR_F_DATA_VALID } from './header.js';
import { HostPorts } from './host-ports.js';
import { passtArguments } from './passt-arguments.js';
import { greeting, isProbeReply, probe } from './passt-greeting.js';
import { MAX_FRAME, PasstProcess } from './passt-process.js';

const PROGRAM = 'passt';
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

export interface PasstOptions {
  loop: EventLoop;
  /** passt is serving, and these ports of the host are bound. Called again after `onDown`. */
  onUp(ports: PublishedPorts[]): void;
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
  readonly #backEnd: PasstSpec;
  readonly #options: PasstOptions;
  readonly #program: string;
  /** Fires when passt is asked whether it answers, or is started again. */
  readonly #timer: Timer;
  /** passt's checksums are valid: the guest need not verify them. */
  readonly #header = new Uint8Array(NET_HEADER);
  /** Reserved until passt has bound them. */
  #ports: HostPorts;
  #process: PasstProcess | undefined;
  #receiver: FrameReceiver | undefined;
  /** The current passt serves. */
  #isUp = false;
  #wasUp = false;
  #failed = false;
  #silence = 0;
  /** Time at which the current passt began to serve. */
  #upSince = 0;
  #delay = 0;

  /**
   * Starts passt.
   * @throws MachineError `no-network` if it is not installed, or a port of the host is not
   * available
   */
  constructor(spec: NetworkSpec, backEnd: PasstSpec, options: PasstOptions) {
    this.#spec = spec;
    this.#backEnd = backEnd;
    this.#options = options;
    const program = findProgram(PROGRAM);
    if (program === undefined) throw new MachineError('no-network', 'passt is not installed: apt-get install passt');
    this.#program = program;
    this.#header[0] = VIRTIO_NET_HDR_F_DATA_VALID;
    this.#ports = this.#reserve(backEnd.ports);
    this.#timer = new Timer(options.loop, () => this.#onTime());
    try {
      this.#start();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #reserve(ports: readonly PublishedPorts[]): HostPorts {
    return new HostPorts(ports, this.#spec.gateways.length > 1 ? ['0.0.0.0', '::'] : ['0.0.0.0']);
  }

  #start(): void {
    const process = new PasstProcess({
      loop: this.#options.loop,
      program: this.#program,
      args: passtArguments(this.#spec, this.#backEnd, this.#ports.chosen),
      onFrame: (bytes, start, length) => this.#receive(bytes, start, length),
      onIdle: () => this.#receiver?.flush(),
      onReady: () => this.#receiver?.ready(),
      onEnd: (reason) => this.#ended(process, reason),
    });
    this.#process = process;
    this.#silence = 0;
    this.#timer.set(this.#patience);
    // The reply shows that passt is serving.
    for (const frame of greeting(this.#spec)) process.write(frame);
  }

  get #patience(): number {
    return this.#options.patience ?? PATIENCE;
  }

  get busy(): boolean {
    return this.#process?.busy ?? false;
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
    this.#process?.resume();
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
    this.#ports[Symbol.dispose]();
    this.#options.onUp(this.#ports.bound);
  }

  send(checked: CheckedFrame): void {
    const process = this.#process;
    if (process === undefined || checked.length > MAX_FRAME) return;
    process.send(checked);
  }

  #onTime(): void {
    const process = this.#process;
    if (process === undefined) {
      this.#restart();
      return;
    }
    this.#timer.set(this.#patience);
    // A guest that takes no frames keeps passt's answers waiting. The first start has no deadline.
    const isSilent = this.#wasUp && !process.isHeard && !process.isFull;
    this.#silence = isSilent ? this.#silence + 1 : 0;
    if (this.#silence > MAX_SILENCE) {
      process.kill('passt does not answer');
      return;
    }
    process.isHeard = false;
    process.write(probe(this.#spec));
  }

  #ended(process: PasstProcess, reason: string): void {
    if (process !== this.#process) return;
    const wasUp = this.#isUp;
    process[Symbol.dispose]();
    this.#process = undefined;
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

  #restart(): void {
    try {
      this.#ports[Symbol.dispose]();
      this.#ports = this.#reserve(this.#ports.chosen);
      this.#start();
    } catch {
      // Another program has one of the ports, or the host has no memory: that may pass.
      this.#restartLater();
    }
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
    this.#ports[Symbol.dispose]();
    this.#process?.[Symbol.dispose]();
    this.#process = undefined;
  }
}
