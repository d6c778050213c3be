// The file system device (virtio 1.2, 5.11 "File System Device"): folders and files of the host,
// served by server.ts. Requests are served in the device thread, one by one. Most are served from
// the host's caches, where a system call is cheaper than handing the request to another thread. A
// host file system that hangs stops all devices of the machine.

import { Timer } from '../../host/timer.js';
import { type DiskRates, FS_QUEUE_SIZE, FS_TAG } from '../../machine.js';
import type { Check } from '../../saved-state.js';
import type { DeviceContext, VirtioDevice } from '../../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../../virtio/queue.js';
import { RateLimit } from '../blk/rate-limit.js';
import { drain } from '../drain.js';
import { Hold } from '../hold.js';
import { admit } from './rates.js';
import { type FuseOptions, FuseServer, type OpenShare } from './server.js';
import type { FuseState } from './state.js';

const VIRTIO_ID_FS = 26;
const TAG_SIZE = 36;

/** The high-priority queue, for FUSE_FORGET. */
const HIPRIO_QUEUE = 0;
/**
 * The driver is notified of forget requests after this many milliseconds or requests. No process
 * waits for them, and the next reply to another request notifies the driver anyway, because all
 * queues of a device share one interrupt.
 */
const UNTOLD_TIME = 10;
const MAX_UNTOLD = 64;
/** Milliseconds between looks for files that other machines have deleted. */
const LOOK_TIME = 500;

/** `struct virtio_fs_config`: tag, le32 num_request_queues. */
function configSpace(): Uint8Array {
  const config = new Uint8Array(TAG_SIZE + 4);
  config.set(Buffer.from(FS_TAG));
  new DataView(config.buffer).setUint32(TAG_SIZE, 1, true);
  return config;
}

export class VirtioFs implements VirtioDevice<FuseState> {
  readonly type = VIRTIO_ID_FS;
  readonly name = 'fs';
  readonly features: readonly number[] = [];
  readonly queueSizes = [FS_QUEUE_SIZE, FS_QUEUE_SIZE];
  readonly config = configSpace();
  readonly server: FuseServer;
  readonly checkState: Check<FuseState>;
  readonly #serve = (chain: DescriptorChain, queue: Virtqueue) => this.#serveRequest(chain, queue);
  readonly #againHiprio = () => this.kick(HIPRIO_QUEUE);
  readonly #again = () => this.kick(HIPRIO_QUEUE + 1);
  #context: DeviceContext | undefined;
  /** The context of the high-priority queue. */
  #hiprioContext: DeviceContext | undefined;
  #untoldTimer: Timer | undefined;
  #untold = 0;
  #lookTimer: Timer | undefined;
  #chain: DescriptorChain | undefined;
  readonly #rates: RateLimit | undefined;
  readonly #hold = new Hold();

  /** Takes ownership of `server`. */
  constructor(server: FuseServer, rates?: DiskRates) {
    this.server = server;
    this.#rates = rates === undefined ? undefined : new RateLimit(rates);
    this.checkState = server.checkState;
  }

  /**
   * Creates the device of shares, and takes ownership of their descriptors.
   * @throws MachineError `host` for a share that is neither a folder nor a file
   */
  static open(shares: readonly OpenShare[], options: FuseOptions & { rates?: DiskRates | undefined } = {}): VirtioFs {
    return new VirtioFs(new FuseServer(shares, options), options.rates);
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#hiprioContext = { ...context, notify: () => this.#tellLater() };
    this.#untoldTimer = new Timer(context.loop, () => this.#tell());
    this.#chain = new DescriptorChain(context.memory, FS_QUEUE_SIZE);
    this.#hold.start(context.loop, this.#again);
    if (this.server.isBounded) {
      const timer = new Timer(context.loop, () => {
        this.server.look();
        timer.set(LOOK_TIME);
      });
      timer.set(LOOK_TIME);
      this.#lookTimer = timer;
    }
  }

  kick(index: number): void {
    const context = index === HIPRIO_QUEUE ? this.#hiprioContext : this.#context;
    if (context === undefined || this.#chain === undefined) return;
    if (index !== HIPRIO_QUEUE && this.#hold.isHeld) return;
    drain(context, index, this.#chain, this.#serve, index === HIPRIO_QUEUE ? this.#againHiprio : this.#again);
  }

  #tellLater(): void {
    if (this.#untold === 0) this.#untoldTimer?.set(UNTOLD_TIME);
    if (++this.#untold === MAX_UNTOLD) this.#tell();
  }

  #tell(): void {
    this.#untold = 0;
    this.#context?.notify(HIPRIO_QUEUE);
  }

  #serveRequest(chain: DescriptorChain, queue: Virtqueue): number {
    // No process waits for the requests of the other queue, and they cost little.
    const isLimited = this.#rates !== undefined && queue !== this.#context?.queues[HIPRIO_QUEUE];
    const delay = isLimited ? admit(this.#rates, chain) : 0;
    if (delay > 0) return this.#hold.back(queue, delay);
    const written = this.server.serve(chain);
    if (written < 0) {
      this.#context?.fail('a request has no header or no room for its reply');
      return 0;
    }
    queue.push(chain.head, written);
    return chain.readable.length + written;
  }

  reset(): void {
    this.#context = undefined;
    this.#hiprioContext = undefined;
    this.#untoldTimer?.[Symbol.dispose]();
    this.#untoldTimer = undefined;
    this.#untold = 0;
    this.#lookTimer?.[Symbol.dispose]();
    this.#lookTimer = undefined;
    this.#hold[Symbol.dispose]();
    this.#chain = undefined;
    this.server.reset();
  }

  save(): FuseState {
    this.#tell();
    return this.server.save();
  }

  restore(state: FuseState): void {
    this.server.restore(state);
    this.#againHiprio();
    this.#again();
  }

  [Symbol.dispose](): void {
    this.reset();
    this.server[Symbol.dispose]();
  }
}
