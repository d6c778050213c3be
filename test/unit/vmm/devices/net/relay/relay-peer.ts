// The default back end. The guest's frames are made by the test.
import type { FrameReceiver } from '../../../../../../vmm/devices/net/back-end.js';
import { HEADROOM } from '../../../../../../vmm/devices/net/back-end.js';
import { Frame, TCP } from '../../../../../../vmm/devices/net/frame.js';
import { NetHeader } from '../../../../../../vmm/devices/net/header.js';
import type { OutsideSockets } from '../../../../../../vmm/devices/net/relay/outside-sockets.js';
import { RelayBackEnd } from '../../../../../../vmm/devices/net/relay/relay.js';
import { EventLoop } from '../../../../../../vmm/host/event-loop.js';
import type { NetworkSpec, PublishedPorts, RelaySpec } from '../../../../../../vmm/machine.js';
import { publishPorts } from '../../../../../../vmm/outside/host-ports.js';
import { BufferList } from '../../../../../../vmm/virtio/buffers.js';
import { GATEWAY, GUEST, PEER_RANGES } from '../../../../../fixtures/frames.js';
import { ownSockets } from '../../../../../fixtures/own-network.js';
import { GuardedMemory } from '../../../../../fixtures/virtio-driver.js';

/** @param ipv6 the guest has IPv6 as well */
export function networkSpec(backEnd: RelaySpec, ipv6 = false): NetworkSpec {
  return {
    ...{ mac: GUEST.mac, gatewayMac: GATEWAY.mac, mtu: 65520, optional: false },
    ...{
      addresses: ipv6 ? [GUEST.ipv4, GUEST.ipv6, GUEST.local] : [GUEST.ipv4],
      gateways: ipv6 ? [GATEWAY.ipv4, GATEWAY.ipv6] : [GATEWAY.ipv4],
      resolvers: [],
      rules: [],
      peerRanges: PEER_RANGES,
      maxConnections: 100,
    },
    backEnd,
  };
}

export const relay = (more: Partial<RelaySpec> = {}): RelaySpec => ({
  ...{ kind: 'relay', ports: [], reachHost: true },
  ...more,
});

export interface PeerOptions {
  ipv6?: boolean;
  sockets?: OutsideSockets;
}

export class Peer implements FrameReceiver, Disposable {
  readonly loop = new EventLoop();
  /** Those that the guest was told of. */
  readonly frames: Buffer[] = [];
  #untold: Buffer[] = [];
  readonly backEnd: RelayBackEnd;
  readonly ports: readonly PublishedPorts[];
  readonly #sockets: Disposable | undefined;
  readonly #memory = GuardedMemory.allocate(65536);
  isLost = false;
  hasRoom = true;
  /** Frames that found no room. */
  refused = 0;
  readonly takesSegments = false;

  constructor(backEnd: RelaySpec, { ipv6 = false, sockets }: PeerOptions = {}) {
    const spec = networkSpec(backEnd, ipv6);
    using ports = publishPorts(spec, backEnd);
    this.ports = ports.bound;
    const published = ports.take();
    const own = sockets === undefined ? ownSockets(spec, backEnd, published) : undefined;
    this.#sockets = own;
    this.backEnd = new RelayBackEnd(spec, { sockets: sockets ?? own!, published, loop: this.loop });
    this.backEnd.attach(this);
  }

  receive(_header: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
    if (this.hasRoom) this.#untold.push(Buffer.from(bytes.subarray(start, start + length)));
    else this.refused++;
    return this.hasRoom;
  }

  flush(): void {
    this.frames.push(...this.#untold);
    this.#untold = [];
  }

  ready(): void {}
  lost(): void {
    this.isLost = true;
  }

  send(frame: Buffer): void {
    const window = this.#memory.bytes(this.#memory.start, HEADROOM + frame.length);
    window.set(frame, HEADROOM);
    const parsed = new Frame();
    parsed.parse(frame, 0, frame.length);
    this.backEnd.send({
      header: new NetHeader(),
      frame: parsed,
      bytes: window,
      memory: this.#memory.hostAddress(this.#memory.start, 1),
      copied: frame.length,
      rest: new BufferList(this.#memory, 1),
      offset: 0,
      length: frame.length,
    });
  }

  /**
   * Runs the event loop and this process's servers in turn until `done` returns true.
   * @throws Error if the loop would wait with a frame that the guest was not told of
   */
  async until(done: () => unknown): Promise<void> {
    while (!done()) {
      this.loop.poll(5);
      if (this.#untold.length > 0) throw new Error('the guest was not told of a frame');
      await new Promise(setImmediate);
    }
  }

  async tcpFrame(flags: number): Promise<Frame> {
    const frame = new Frame();
    await this.until(() =>
      this.frames.some((bytes) => {
        frame.parse(bytes, 0, bytes.length);
        return frame.kind === TCP && (frame.tcpFlags & flags) === flags;
      }),
    );
    return frame;
  }

  parse(bytes: Uint8Array): Frame {
    const frame = new Frame();
    frame.parse(bytes, 0, bytes.length);
    return frame;
  }

  [Symbol.dispose](): void {
    this.backEnd[Symbol.dispose]();
    this.#sockets?.[Symbol.dispose]();
    this.loop[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}
