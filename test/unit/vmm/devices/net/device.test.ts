// The network device: sending, receiving, offloads, refused frames and saved state.
import fc from 'fast-check';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { CheckedFrame, FrameReceiver, NetBackEnd } from '../../../../../vmm/devices/net/back-end.js';
import { HEADROOM } from '../../../../../vmm/devices/net/back-end.js';
import {
  RECEIVE,
  TRANSMIT,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MRG_RXBUF,
  VirtioNet,
} from '../../../../../vmm/devices/net/device.js';
import { EventLoop } from '../../../../../vmm/host/event-loop.js';
import type { EgressSpec, NetworkRates, NetworkRule, Refusal } from '../../../../../vmm/machine.js';
import { ACK, answer, GATEWAY, GUEST, PEER_RANGES, query, RST, SYN, tcp, udp } from '../../../../fixtures/frames.js';
import { ownNetwork } from '../../../../fixtures/own-network.js';
import { type Piece, VirtioDriver } from '../../../../fixtures/virtio-driver.js';

const HEADER = 12;
const RESOLVER = '10.255.255.53';
const RST_ACK = 0x14;

/** A back end that records the guest's frames and delivers the test's frames to the guest. */
class Wire implements NetBackEnd {
  readonly offloads = true;
  busy = false;
  readonly sent: { header: Buffer; frame: Buffer }[] = [];
  receiver: FrameReceiver | undefined;
  /** Frames that wait for room in the guest. */
  readonly waiting: Buffer[] = [];
  disposed = false;

  attach(receiver: FrameReceiver): void {
    this.receiver = receiver;
  }

  detach(): void {
    this.receiver = undefined;
  }

  send({ header, bytes, copied, rest, offset, length }: CheckedFrame): void {
    const frame = Buffer.alloc(length);
    frame.set(bytes.subarray(HEADROOM, HEADROOM + copied));
    rest.read(offset, frame.subarray(copied));
    this.sent.push({ header: Buffer.from(header.bytes), frame });
  }

  give(...frames: Buffer[]): void {
    this.waiting.push(...frames);
    this.resume();
  }

  resume(): void {
    const header = new Uint8Array(HEADER);
    header[0] = 2;
    for (let frame = this.waiting[0]; frame !== undefined; frame = this.waiting[0]) {
      if (!this.receiver?.receive(header, frame, 0, frame.length)) break;
      this.waiting.shift();
    }
    this.receiver?.flush();
  }

  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

interface Options {
  rules?: NetworkRule[];
  features?: number[];
  maxConnections?: number;
  rates?: NetworkRates;
  isWire?: boolean;
  egress?: EgressSpec;
}

function network(options: Options = {}) {
  let wire = new Wire();
  const refused: Refusal[] = [];
  const create = () => {
    wire = new Wire();
    return new VirtioNet({
      spec: {
        ...{ mac: GUEST.mac, gatewayMac: GATEWAY.mac, mtu: 65520, optional: false },
        ...{ addresses: [GUEST.ipv4, GUEST.ipv6], gateways: [GATEWAY.ipv4], resolvers: [RESOLVER] },
        peerRanges: PEER_RANGES,
        maxConnections: options.maxConnections ?? 16_384,
        rules: options.rules ?? [],
        ...(options.rates && { rates: options.rates }),
        backEnd: options.isWire
          ? { kind: 'wire', namespace: '/none', interface: 'none', tap: 'none' }
          : options.egress
            ? { kind: 'relay', ports: [], reachHost: false, egress: options.egress }
            : { kind: 'tap', interface: 'none' },
      },
      backEnd: wire,
      loop: new EventLoop(),
      ...ownNetwork(),
      onRefusal: (refusal) => refused.push(refusal),
    });
  };
  const driver = new VirtioDriver(create(), { memorySize: 8 * 1024 * 1024, features: options.features }).start();
  return {
    driver,
    create,
    refused,
    get wire() {
      return wire;
    },
    get device() {
      return driver.device as VirtioNet;
    },
    /** Adds a frame, cut at these offsets, to the transmit queue and kicks. */
    transmit(frame: Uint8Array, header = new Uint8Array(HEADER), cuts: number[] = []) {
      const whole = driver.allocate(HEADER + frame.length, 1);
      driver.bytes(whole).set(header);
      driver.bytes(whole).set(frame, HEADER);
      const edges = [0, ...cuts.filter((cut) => cut > 0 && cut < whole.length).sort((a, b) => a - b), whole.length];
      const pieces = edges.slice(1).map((end, index) => ({
        address: whole.address + edges[index]!,
        length: end - edges[index]!,
      }));
      driver.queueAt(TRANSMIT).add(pieces, []);
      driver.queueAt(TRANSMIT).kick();
      return whole;
    },
    /** Adds a receive buffer. */
    room(length: number): Piece {
      const piece = driver.allocate(length, 1);
      driver.queueAt(RECEIVE).add([], [piece]);
      return piece;
    },
    /** Returns the next frame that the guest received, assembled from `pieces`. */
    take(pieces: Piece[]): { header: Buffer; frame: Buffer } | undefined {
      const first = driver.queueAt(RECEIVE).takeUsed();
      if (first === undefined) return undefined;
      const parts = [driver.bytes(pieces.shift()!).subarray(0, first.length)];
      const count = parts[0]!.readUInt16LE(10);
      while (parts.length < count) {
        parts.push(driver.bytes(pieces.shift()!).subarray(0, driver.queueAt(RECEIVE).takeUsed()!.length));
      }
      const bytes = Buffer.concat(parts);
      return { header: bytes.subarray(0, HEADER), frame: bytes.subarray(HEADER) };
    },
  };
}

const inbound = { sourceMac: GATEWAY.mac, destinationMac: GUEST.mac, source: '203.0.113.1', destination: GUEST.ipv4 };

describe('network device', () => {
  test('the driver reads its address, its MTU and that the link is up', () => {
    using it = network().driver;
    const config = Buffer.from(it.device.config);
    expect(config.subarray(0, 6).toString('hex')).toBe(GUEST.mac.replaceAll(':', ''));
    expect([config.readUInt16LE(6), config.readUInt16LE(8), config.readUInt16LE(10)]).toEqual([1, 1, 65520]);
  });

  test('frames of any length and in any number of buffers are sent unchanged', () => {
    const it = network();
    using _ = it.driver;
    fc.assert(
      fc.property(fc.nat({ max: 9000 }), fc.array(fc.nat({ max: 9000 }), { maxLength: 5 }), (length, cuts) => {
        const frame = tcp({ payload: Buffer.alloc(length, 'payload') });
        it.transmit(frame, new Uint8Array(HEADER), cuts);
        expect(it.wire.sent.pop()?.frame.equals(frame)).toBe(true);
        expect(it.driver.queueAt(TRANSMIT).takeUsed()?.length).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test('bytes after a packet are not sent', () => {
    const it = network();
    using _ = it.driver;
    const frame = udp();
    it.transmit(Buffer.concat([frame, Buffer.from('padding, or a message')]));
    expect(it.wire.sent[0]?.frame.equals(frame)).toBe(true);
  });

  test('on the wire of an engine, all passes that has the hardware address of the guest', () => {
    const it = network({ isWire: true });
    using _ = it.driver;
    const mac = (text: string) => Buffer.from(text.replaceAll(':', ''), 'hex');
    const frame = (source: string, rest: Buffer) => Buffer.concat([mac(GATEWAY.mac), mac(source), rest]);
    // A type that no device knows, one byte of IPv4, a packet of IPv6 that is cut short.
    const others = ['88b5', '080045', `86dd6000000001003aff${'00'.repeat(32)}`].map((hex) => Buffer.from(hex, 'hex'));
    const long = Buffer.concat([Buffer.from('88b5', 'hex'), Buffer.alloc(4000, 'long')]);
    const passing: Buffer[] = [...others, long].map((rest) => frame(GUEST.mac, rest));
    passing.push(tcp({ flags: ACK, destination: '10.0.0.1' }), udp({ source: '10.0.0.9' }));
    for (const each of passing) it.transmit(each);
    expect(it.wire.sent.map((each) => each.frame.toString('hex'))).toEqual(passing.map((each) => each.toString('hex')));
    it.transmit(frame(GATEWAY.mac, long));
    it.transmit(frame(GUEST.mac, Buffer.alloc(1)));
    expect(it.wire.sent).toHaveLength(passing.length);
    expect(it.device.refused).toEqual({ spoofed: 1, malformed: 1 });
    const rooms = passing.map(() => it.room(8192));
    const arriving = passing.map((each) =>
      Buffer.concat([each.subarray(6, 12), each.subarray(0, 6), each.subarray(12)]),
    );
    it.wire.give(...arriving);
    for (const each of arriving) expect(it.take(rooms)?.frame.toString('hex')).toBe(each.toString('hex'));
  });

  test('the headers that were checked are sent, even if the guest changes them meanwhile', () => {
    const it = network();
    using _ = it.driver;
    const frame = tcp({ payload: Buffer.alloc(8000, 1) });
    const { wire } = it;
    let memory: Piece | undefined;
    const send = wire.send.bind(wire);
    wire.send = (checked) => {
      if (memory !== undefined) it.driver.bytes(memory).fill(0xee);
      send(checked);
    };
    wire.busy = true;
    memory = it.transmit(frame);
    wire.busy = false;
    wire.receiver?.ready();
    expect(wire.sent[0]?.frame.subarray(0, 54).equals(frame.subarray(0, 54))).toBe(true);
  });

  describe.each([
    // A burst of ten frames of 1000 bytes, and one that incurs the debt.
    ['bytes', { bytes: 100_000 }],
    ['packets', { packets: 100 }],
  ])('with a rate of %s', (_, rates) => {
    const payload = Buffer.alloc(1000 - 54);
    const ports = Array.from({ length: 20 }, (_, index) => index + 1);

    test('frames wait to be sent until earlier ones are paid off, and none is lost', () => {
      const clock = vi.spyOn(performance, 'now').mockReturnValue(1000);
      onTestFinished(() => clock.mockRestore());
      const it = network({ rates });
      using _ = it.driver;
      for (const sourcePort of ports) it.transmit(tcp({ sourcePort, flags: SYN, payload }));
      expect(it.wire.sent).toHaveLength(11);
      // While frames wait, the driver is not asked to kick, and the event loop is idle.
      expect(it.driver.queueAt(TRANSMIT).kick()).toBe(false);
      clock.mockReturnValue(2000);
      expect(it.driver.loop.poll(-1)).toBe(1);
      expect(it.wire.sent.map(({ frame }) => frame.readUInt16BE(34))).toEqual(ports);
    });

    test('frames wait to be received, and none is lost', () => {
      const clock = vi.spyOn(performance, 'now').mockReturnValue(1000);
      onTestFinished(() => clock.mockRestore());
      const it = network({ rates });
      using _ = it.driver;
      const open = (from: number[]) => {
        for (const sourcePort of from) it.transmit(tcp({ sourcePort, destinationPort: 443, flags: SYN }));
        it.driver.loop.poll(0);
      };
      open(ports.slice(0, 10));
      clock.mockReturnValue(2000);
      open(ports.slice(10));
      expect(it.wire.sent).toHaveLength(20);
      const rooms = ports.map(() => it.room(2048));
      it.wire.give(
        ...ports.map((port) =>
          tcp({ ...inbound, source: '203.0.113.1', sourcePort: 443, destinationPort: port, flags: ACK, payload }),
        ),
      );
      expect(it.wire.waiting).toHaveLength(9);
      clock.mockReturnValue(3000);
      expect(it.driver.loop.poll(-1)).toBe(1);
      const got = ports.map(() => it.take(rooms)?.frame.readUInt16BE(36));
      expect(got).toEqual(ports);
    });
  });

  test('a frame of any length that the guest gives counts as one that could be sent', () => {
    const it = network({ rates: { bytes: 1 } });
    using _ = it.driver;
    const whole = it.driver.allocate(4, 1);
    it.driver.queueAt(TRANSMIT).add([whole], []);
    it.driver.queueAt(TRANSMIT).kick();
    expect(it.driver.queueAt(TRANSMIT).takeUsed()).toBeUndefined();
  });

  test('frames wait while the back end is busy, and none is lost', () => {
    const it = network();
    using _ = it.driver;
    it.wire.busy = true;
    for (let port = 1; port <= 5; port++) it.transmit(tcp({ sourcePort: port }));
    expect(it.wire.sent).toHaveLength(0);
    it.wire.busy = false;
    it.wire.receiver?.ready();
    expect(it.wire.sent.map(({ frame }) => frame.readUInt16BE(34))).toEqual([1, 2, 3, 4, 5]);
  });

  test("a pending checksum is accepted only at the offset of the protocol's checksum", () => {
    const it = network();
    using _ = it.driver;
    const header = (start: number, offset: number) => {
      const bytes = Buffer.alloc(HEADER);
      bytes[0] = 1;
      bytes.writeUInt16LE(start, 6);
      bytes.writeUInt16LE(offset, 8);
      return bytes;
    };
    it.transmit(tcp(), header(34, 16));
    expect(it.wire.sent.pop()?.header.equals(header(34, 16))).toBe(true);
    it.transmit(udp(), header(34, 6));
    expect(it.wire.sent.pop()?.header.equals(header(34, 6))).toBe(true);
    // A checksum written over an address would redirect the frame after its check.
    for (const [start, offset] of [
      [14, 16],
      [34, 6],
      [0, 30],
      [34, 0xfff0],
      [0xffff, 0xffff],
    ] as const) {
      it.transmit(tcp(), header(start, offset));
      expect(it.wire.sent).toHaveLength(0);
    }
    expect(it.device.refused).toEqual({ malformed: 5 });
  });

  test("segmentation is passed on with the device's own header length", () => {
    const it = network();
    using _ = it.driver;
    const header = Buffer.from([1, 1, 0xff, 0xff, 0xb4, 5, 34, 0, 16, 0, 9, 9]);
    it.transmit(tcp({ payload: Buffer.alloc(20000) }), header);
    expect(it.wire.sent[0]?.header.toString('hex')).toBe('01013600b405220010000000');
    const wrong = [
      [1, 4, 0, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0],
      [0, 1, 0, 0, 0xb4, 5, 0, 0, 0, 0, 0, 0],
      [1, 1, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0],
      [1, 3, 0, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0],
      [1, 0x80, 0, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0],
    ];
    for (const bytes of wrong) it.transmit(tcp({ payload: Buffer.alloc(100) }), Buffer.from(bytes));
    expect(it.wire.sent).toHaveLength(1);
  });

  test('offloads that the driver did not accept are refused', () => {
    const it = network({ features: [VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF] });
    using _ = it.driver;
    it.transmit(tcp(), Buffer.from([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]));
    expect(it.wire.sent).toHaveLength(0);
  });

  test('frames are received in one buffer, or in as many as they need', () => {
    const it = network();
    using _ = it.driver;
    fc.assert(
      fc.property(fc.nat({ max: 9000 }), fc.integer({ min: HEADER, max: 2000 }), (length, size) => {
        const frame = tcp({ ...inbound, payload: Buffer.alloc(length, 'inbound') });
        const needed = Math.ceil((frame.length + HEADER) / size);
        fc.pre(needed <= 200);
        const pieces = Array.from({ length: needed }, () => it.room(size));
        it.wire.give(frame);
        const got = it.take(pieces);
        expect(got?.frame.equals(frame)).toBe(true);
        expect(got?.header.readUInt16LE(10)).toBe(needed);
        expect(got?.header[0]).toBe(2);
        expect(pieces).toHaveLength(0);
      }),
      { numRuns: 40 },
    );
  });

  test('a frame without enough room waits completely for a kick', () => {
    const it = network();
    using _ = it.driver;
    const frame = tcp({ ...inbound, payload: Buffer.alloc(3000, 'x') });
    const pieces = [it.room(1000), it.room(1000)];
    it.wire.give(frame);
    expect(it.driver.queueAt(RECEIVE).takeUsed()).toBeUndefined();
    pieces.push(it.room(1000), it.room(1000));
    expect(it.driver.queueAt(RECEIVE).kick()).toBe(true);
    expect(it.take(pieces)?.frame.equals(frame)).toBe(true);
    expect(it.wire.waiting).toHaveLength(0);
  });

  test('without merging, a frame that is longer than a buffer is dropped, and the next one arrives', () => {
    const it = network({ features: [VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM] });
    using _ = it.driver;
    const pieces = [it.room(1000)];
    const short = tcp(inbound);
    it.wire.give(tcp({ ...inbound, payload: Buffer.alloc(3000) }), short);
    const got = it.take(pieces);
    expect(got?.frame.equals(short)).toBe(true);
    expect(got?.header.readUInt16LE(10)).toBe(1);
  });

  test('a refused connection is reset at once', () => {
    const it = network();
    using _ = it.driver;
    const pieces = [it.room(2000), it.room(2000)];
    it.transmit(tcp({ destination: '10.0.0.1', destinationPort: 5432 }));
    expect(it.wire.sent).toHaveLength(0);
    const reset = it.take(pieces)!.frame;
    const expected = tcp({
      ...{ sourceMac: GATEWAY.mac, destinationMac: GUEST.mac, source: '10.0.0.1', destination: GUEST.ipv4 },
      ...{ sourcePort: 5432, destinationPort: 40000, flags: RST_ACK },
    });
    expect(reset.subarray(26, 38).toString('hex')).toBe(expected.subarray(26, 38).toString('hex'));
    expect(reset[47]).toBe(RST_ACK);
    expect(reset.readUInt32BE(42)).toBe(1001);
    it.transmit(tcp({ destination: 'fd00::1' }));
    expect(it.take(pieces)?.frame[14 + 40 + 13]).toBe(RST_ACK);
    expect(it.refused).toEqual([
      { reason: 'closed', what: 'tcp', destination: '10.0.0.1:5432' },
      { reason: 'closed', what: 'tcp', destination: '[fd00::1]:80' },
    ]);
  });

  test('a segment of no connection is reset, from either side', () => {
    const it = network();
    const pieces = [it.room(2000)];
    it.transmit(tcp({ flags: 0x10, payload: Buffer.from('data') }));
    const { frame } = it.take(pieces)!;
    expect([frame[47], frame.readUInt32BE(38)]).toEqual([RST, 0]);
    expect(it.device.refused).toEqual({ 'no-connection': 1 });
    it.wire.give(tcp({ ...inbound, flags: 0x10 }), tcp({ ...inbound, flags: RST }));
    expect(it.wire.sent).toHaveLength(1);
    const { frame: reply } = it.wire.sent[0]!;
    expect(reply[47]).toBe(RST);
    expect(reply.subarray(26, 34)).toEqual(Buffer.from([198, 19, 0, 2, 203, 0, 113, 1]));
    expect(reply.subarray(34, 38)).toEqual(Buffer.from([0, 80, 156, 64]));
    expect(it.take(pieces)).toBeUndefined();
  });

  test('a connection above the limit is reset at once, in either direction, and reported', () => {
    const it = network({ maxConnections: 1 });
    it.transmit(tcp());
    const pieces = [it.room(2000)];
    it.transmit(tcp({ sourcePort: 40001 }));
    expect(it.take(pieces)!.frame[47]).toBe(RST_ACK);
    it.wire.give(tcp({ ...inbound, sourcePort: 5555, destinationPort: 80 }));
    expect(it.wire.sent.map(({ frame }) => frame[47])).toEqual([SYN, RST_ACK]);
    expect(it.device.refused).toEqual({ limit: 2 });
    expect(it.refused).toEqual([
      { reason: 'limit', what: 'tcp', destination: '203.0.113.1:80' },
      { reason: 'limit', what: 'tcp', destination: '198.19.0.2:80' },
    ]);
  });

  test("the answer to a question reaches the guest's port, once there is room", () => {
    const it = network({ rules: [{ allow: true, name: 'example.com' }] });
    it.transmit(udp({ destination: RESOLVER, destinationPort: 53, payload: query('example.com', 99) }));
    const { frame } = it.wire.sent[0]!;
    const payload = answer('example.com', [{ address: '203.0.113.7' }], frame.readUInt16BE(42));
    const from = { ...inbound, source: RESOLVER, sourcePort: 53, destinationPort: frame.readUInt16BE(34) };
    it.wire.give(udp({ ...from, payload }));
    it.wire.give(udp({ ...from, payload }));
    const pieces = [it.room(2000), it.room(2000)];
    it.driver.queueAt(RECEIVE).kick();
    const got = it.take(pieces)!.frame;
    expect([got.readUInt16BE(36), got.readUInt16BE(42)]).toEqual([40000, 99]);
    expect(it.take(pieces)).toBeUndefined();
    it.transmit(tcp({ destination: '203.0.113.7' }));
    expect(it.wire.sent).toHaveLength(2);
  });

  test.each([
    ['IPv4', 1, [198, 19, 0, 4]],
    ['IPv6', 28, []],
    ['services', 65, []],
  ])(
    'a question for %s of a host that a proxy stands for is answered with its address of IPv4 alone',
    (_of, type, address) => {
      const egress = { address: '198.19.0.4', ports: [443], names: ['api.example.com'] };
      const it = network({ egress, rules: [{ allow: true, name: 'example.org' }] });
      using _ = it.driver;
      const pieces = [it.room(2000)];
      it.transmit(udp({ destination: RESOLVER, destinationPort: 53, payload: query('API.example.com', 99, type) }));
      const message = it.take(pieces)!.frame.subarray(42);
      expect([message.readUInt16BE(0), message.readUInt16BE(2) & 0x800f, message.readUInt16BE(6)]).toEqual([
        ...[99, 0x8000, address.length / 4],
      ]);
      expect([...message.subarray(message.length - address.length)]).toEqual(address);
      it.transmit(udp({ destination: RESOLVER, destinationPort: 53, payload: query('example.org', 99, type) }));
      expect(it.wire.sent).toHaveLength(1);
    },
  );

  test('a query for a name that is not allowed is answered REFUSED', () => {
    const it = network({ rules: [{ allow: true, name: 'example.com' }] });
    using _ = it.driver;
    const pieces = [it.room(2000)];
    it.transmit(udp({ destination: RESOLVER, destinationPort: 53, payload: query('example.net', 99) }));
    const message = it.take(pieces)!.frame.subarray(42);
    expect(message.readUInt16BE(0)).toBe(99);
    expect(message.readUInt16BE(2)).toBe(0x8105);
    expect(message.subarray(12).equals(query('example.net').subarray(12))).toBe(true);
  });

  test('invalid queries of any length do no harm if rules restrict names', () => {
    const it = network({ rules: [{ allow: true, name: 'example.com' }] });
    using _ = it.driver;
    for (let length = 0; length < 20; length++) {
      it.transmit(udp({ destination: RESOLVER, destinationPort: 53, payload: Buffer.alloc(length, length) }));
    }
    expect(it.device.refused).toEqual({ name: 20 });
    expect(it.driver.failures).toEqual([]);
  });

  test('refusals are counted, and each destination is reported once', () => {
    const it = network();
    using _ = it.driver;
    for (let count = 0; count < 3; count++) it.transmit(udp({ destination: '10.0.0.1' }));
    it.transmit(udp({ destination: '10.0.0.2' }));
    it.transmit(tcp({ flags: SYN | 0x10 }));
    expect(it.device.refused).toEqual({ closed: 4, 'no-connection': 1 });
    expect(it.refused.map(({ destination }) => destination)).toEqual(['10.0.0.1:4000', '10.0.0.2:4000']);
  });

  test('a lost back end takes the link down', () => {
    const it = network();
    using _ = it.driver;
    it.wire.receiver?.lost();
    expect(it.driver.device.config[6]).toBe(0);
    expect(it.driver.interruptStatus[0]! & 2).toBe(2);
  });

  test('a frame without a header breaks only the device', () => {
    const it = network();
    using _ = it.driver;
    it.driver.queueAt(TRANSMIT).add([it.driver.allocate(HEADER - 1)], []);
    it.driver.queueAt(TRANSMIT).kick();
    expect(it.driver.failures).toHaveLength(1);
    it.wire.give(tcp(inbound));
    it.driver.memory.assertGuardsIntact();
  });

  test('random bytes as header and frame leave the device intact', () => {
    const it = network();
    using _ = it.driver;
    const damaged = fc
      .tuple(
        fc.constantFrom(tcp(), udp(), tcp({ destination: '2606:4700::1' })),
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(90),
      )
      .map(([frame, bytes, at]) => {
        const copy = Buffer.from(frame);
        copy.set(bytes.subarray(0, Math.max(0, copy.length - at)), Math.min(at, copy.length));
        return copy;
      });
    const header = fc.uint8Array({ minLength: HEADER, maxLength: HEADER });
    fc.assert(
      fc.property(header, fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (head, frame) => {
        it.transmit(frame, head);
        expect(it.driver.failures).toEqual([]);
        expect(it.driver.queueAt(TRANSMIT).takeUsed()?.length).toBe(0);
        for (const { header: sent, frame: out } of it.wire.sent.splice(0)) {
          expect(out.length).toBeLessThanOrEqual(frame.length);
          // The checksum's offset is inside the frame's transport header.
          if ((sent.readUInt8() & 1) !== 0) expect([34, 54]).toContain(sent.readUInt16LE(6));
          if ((sent.readUInt8() & 1) !== 0) expect([6, 16]).toContain(sent.readUInt16LE(8));
        }
      }),
      { numRuns: 1000 },
    );
    it.driver.memory.assertGuardsIntact();
  });

  test('a restored device continues where the saved one stopped', () => {
    const it = network();
    using _ = it.driver;
    const pieces = [it.room(2000)];
    const before = it.wire;
    it.driver.replaceDevice(it.create);
    expect(before.disposed).toBe(true);
    it.transmit(tcp());
    expect(it.wire.sent).toHaveLength(1);
    it.wire.give(udp(inbound));
    expect(it.take(pieces)?.frame.equals(udp(inbound))).toBe(true);
  });
});
