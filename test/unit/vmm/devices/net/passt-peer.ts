// The relay and the real passt behind the back end. The guest's frames are made by the test.
import { readFileSync } from 'node:fs';
import type { FrameReceiver } from '../../../../../vmm/devices/net/back-end.js';
import { HEADROOM } from '../../../../../vmm/devices/net/back-end.js';
import { Frame, TCP } from '../../../../../vmm/devices/net/frame.js';
import { NetHeader } from '../../../../../vmm/devices/net/header.js';
import type { OutsideSockets } from '../../../../../vmm/devices/net/relay/outside-sockets.js';
import { RelayedBackEnd } from '../../../../../vmm/devices/net/relayed.js';
import { EventLoop } from '../../../../../vmm/host/event-loop.js';
import type { MachineError, NetworkSpec, PasstSpec, PublishedPorts } from '../../../../../vmm/machine.js';
import { BufferList } from '../../../../../vmm/virtio/buffers.js';
import { GATEWAY, GUEST, PEER_RANGES } from '../../../../fixtures/frames.js';
import { GuardedMemory } from '../../../../fixtures/virtio-driver.js';

/** @param ipv6 the guest has IPv6 as well */
export function networkSpec(backEnd: PasstSpec, ipv6 = false): NetworkSpec {
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

export const passt = (more: Partial<PasstSpec> = {}): PasstSpec => ({
  ...{ kind: 'passt', ports: [], reachHost: true, interface: 'lo' },
  ...more,
});

export interface PeerOptions {
  ipv6?: boolean;
  patience?: number;
  sockets?: OutsideSockets;
}

export class Peer implements FrameReceiver, Disposable {
  readonly loop = new EventLoop();
  readonly frames: Buffer[] = [];
  readonly backEnd: RelayedBackEnd;
  readonly #memory = GuardedMemory.allocate(65536);
  up = false;
  ports: PublishedPorts[] = [];
  error: MachineError | undefined;
  /** How often passt ended. */
  ends = 0;
  isLost = false;
  hasRoom = true;
  readonly takesSegments = false;

  constructor(backEnd: PasstSpec, { ipv6 = false, ...options }: PeerOptions = {}) {
    this.backEnd = new RelayedBackEnd(networkSpec(backEnd, ipv6), backEnd, {
      loop: this.loop,
      onUp: (ports) => {
        this.up = true;
        this.ports = ports;
      },
      onDown: (error) => {
        this.up = false;
        this.ends++;
        this.error = error;
      },
      ...options,
    });
    this.backEnd.attach(this);
  }

  receive(_header: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
    if (this.hasRoom) this.frames.push(Buffer.from(bytes.subarray(start, start + length)));
    return this.hasRoom;
  }

  flush(): void {}
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

  /** Runs the event loop and this process's servers in turn until `done` returns true. */
  async until(done: () => unknown): Promise<void> {
    while (!done()) {
      this.loop.poll(5);
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

  /** The process id of passt. */
  get pid(): number {
    return childrenNamed('passt')[0]!;
  }

  [Symbol.dispose](): void {
    this.backEnd[Symbol.dispose]();
    this.loop[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}

export function childrenNamed(name: string): number[] {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'latin1').trim().split(' ');
  return children.map(Number).filter((pid) => pid > 0 && readFileSync(`/proc/${pid}/comm`, 'latin1').startsWith(name));
}
