// The socket device: connections both ways, credit, shutdown, invalid packets and saved state.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { BUFFER_ALLOCATION, SMALL_ALLOCATION } from '../../../../../vmm/devices/vsock/connection.js';
import { FIRST_PRIVATE_PORT, PRIVATE_CONNECTIONS, VirtioVsock } from '../../../../../vmm/devices/vsock/device.js';
import { connectToPort, type HostFiles, OWN_FILES } from '../../../../../vmm/host/files.js';
import { MAX_VSOCK_CONNECTIONS } from '../../../../../vmm/machine.js';
import { STATUS } from '../../../../../vmm/virtio/mmio/registers.js';
import { UnixPeer, UnixServer } from '../../../../fixtures/unix-peer.js';
import {
  GUEST_CID,
  type GuestOptions,
  type GuestStream,
  OP,
  RCV,
  SEND,
  VsockGuest,
} from '../../../../fixtures/vsock-guest.js';

let folder: string;
let names = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-vsock-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A guest, a host that listens for port 7, and the requested number of streams between them. */
class Scene implements Disposable {
  readonly path = join(folder, `v${names++}`);
  readonly server = new UnixServer(`${this.path}_7`);
  readonly guest: VsockGuest;
  readonly peers: UnixPeer[] = [];

  constructor(options: GuestOptions = {}) {
    this.guest = new VsockGuest(this.path, options);
  }

  connect(guestPort = 1000, allocation?: number): { stream: GuestStream; peer: UnixPeer } {
    const stream = this.guest.connect(7, guestPort, allocation);
    this.guest.settle();
    const peer = this.server.accept();
    expect(peer).toBeDefined();
    this.peers.push(peer!);
    return { stream, peer: peer! };
  }

  [Symbol.dispose](): void {
    for (const peer of this.peers) peer[Symbol.dispose]();
    this.server[Symbol.dispose]();
    this.guest[Symbol.dispose]();
  }
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Lets a millisecond pass at each look at the clock: the device's rate of connections delays none. */
function passTime(): void {
  let now = performance.now();
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now++);
  onTestFinished(() => clock.mockRestore());
}

const received = (stream: GuestStream) => Buffer.concat(stream.data).toString();

describe('vsock', () => {
  test('a connection of the guest reaches the unix socket of its port, and bytes pass both ways', () => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    expect(stream).toMatchObject({ state: 'open', hostAllocation: BUFFER_ALLOCATION });
    scene.guest.write(stream, Buffer.from('to the host'));
    expect(peer.read()?.toString()).toBe('to the host');
    peer.write(Buffer.from('to the guest'));
    scene.guest.settle();
    expect(received(stream)).toBe('to the guest');
  });

  test('a connection to a port without a listener, or with a full backlog, is reset', () => {
    using scene = new Scene();
    const nobody = scene.guest.connect(8, 1);
    using full = new UnixServer(`${scene.path}_9`, 0);
    const first = scene.guest.connect(9, 2);
    const second = scene.guest.connect(9, 3);
    scene.guest.settle();
    expect([nobody.state, first.state, second.state]).toEqual(['reset', 'open', 'reset']);
    expect(full.path).toMatch(/_9$/);
  });

  /** A scene whose owner connects when it is told to. */
  function slowScene() {
    const waiting: (() => void)[] = [];
    const connect: HostFiles['connect'] = (path, port, done) => {
      waiting.push(() => done(connectToPort(path, port)));
    };
    const scene = new Scene({ files: { ...OWN_FILES, connect } });
    return { scene, waiting, [Symbol.dispose]: () => scene[Symbol.dispose]() };
  }

  test('a connection opens, or is reset, when its socket has come, and others go on meanwhile', () => {
    using it = slowScene();
    const { scene, waiting } = it;
    const [first, refused, second] = [7, 8, 7].map((port, index) => scene.guest.connect(port, index + 1, 1000));
    scene.guest.settle();
    expect([first, refused, second].map((stream) => stream?.state)).toEqual(['connecting', 'connecting', 'connecting']);
    for (const answer of waiting.splice(0).reverse()) answer();
    scene.guest.settle();
    expect([first, refused, second].map((stream) => stream?.state)).toEqual(['open', 'reset', 'open']);
    // In the order of the answers. The credit of the request still counts.
    using peer = scene.server.accept()!;
    peer.write(Buffer.alloc(2000, 'x'));
    scene.guest.settle();
    expect(second?.received).toBe(1000);
    scene.server.accept()?.[Symbol.dispose]();
    expect(scene.guest.strays).toEqual([]);
  });

  test.each<[string, (it: ReturnType<typeof slowScene>, stream: GuestStream) => unknown]>([
    ['resets', ({ scene }, stream) => scene.guest.send(stream, OP.rst)],
    ['asks for again', ({ scene }, stream) => scene.guest.send(stream, OP.request)],
    ['sends on before it is open', ({ scene }, stream) => scene.guest.send(stream, OP.rw)],
    ['loses by a reset of the device', ({ scene }) => scene.guest.device.reset()],
  ])('a socket for a connection that the guest %s is closed when it comes', (_, giveUp) => {
    using it = slowScene();
    const { scene, waiting } = it;
    const stream = scene.guest.connect(7, 1);
    scene.guest.settle();
    giveUp(it, stream);
    scene.guest.settle();
    expect(waiting).toHaveLength(1);
    waiting.shift()?.();
    scene.guest.settle();
    expect(stream.state).not.toBe('open');
    using peer = scene.server.accept()!;
    expect(peer.read()).toBe('end');
  });

  test('sockets that are asked for count as connections, also when the guest has given them up', () => {
    passTime();
    using it = slowScene();
    const { scene, waiting } = it;
    for (let port = 1; port <= MAX_VSOCK_CONNECTIONS + 10; port++) {
      scene.guest.send(scene.guest.connect(8, port), OP.rst);
      scene.guest.settle();
    }
    expect(waiting).toHaveLength(MAX_VSOCK_CONNECTIONS - PRIVATE_CONNECTIONS);
    for (const answer of waiting.splice(0)) answer();
    scene.guest.connect(8, 1);
    scene.guest.settle();
    expect(waiting).toHaveLength(1);
  });

  test('a connection of the host reaches the guest after its CONNECT line', () => {
    using scene = new Scene();
    using peer = UnixPeer.connect(scene.path);
    peer.write(Buffer.from('CONN'));
    scene.guest.settle();
    // The bytes after the line belong to the stream.
    peer.write(Buffer.from('ECT 52\nearly'));
    const request = scene.guest.settle().find(({ op }) => op === OP.request);
    expect(request?.guestPort).toBe(52);
    const stream = scene.guest.stream(request!.hostPort, 52)!;
    expect(peer.read()).toBeUndefined();
    scene.guest.send(stream, OP.response);
    scene.guest.settle();
    expect(peer.read()?.toString()).toBe(`OK ${request!.hostPort}\n`);
    expect(received(stream)).toBe('early');
    scene.guest.write(stream, Buffer.from('late'));
    expect(peer.read()?.toString()).toBe('late');
  });

  test('a host that sends anything else, or asks for a port that the guest refuses, is disconnected', () => {
    using scene = new Scene();
    for (const line of ['CONNECT\n', 'CONNECT -1\n', 'CONNECT 4294967296\n', `${'x'.repeat(40)}\n`, 'connect 1\n']) {
      using peer = UnixPeer.connect(scene.path);
      peer.write(Buffer.from(line));
      expect(scene.guest.settle()).toEqual([]);
      expect(['end', 'ECONNRESET']).toContain(peer.read());
    }
    using peer = UnixPeer.connect(scene.path);
    peer.write(Buffer.from('CONNECT 52\n'));
    const request = scene.guest.settle()[0]!;
    scene.guest.send(scene.guest.stream(request.hostPort, 52)!, OP.rst);
    expect(peer.read()).toBe('end');
  });

  test('if the host disconnects before the guest answers, the request is reset', () => {
    using scene = new Scene();
    const peer = UnixPeer.connect(scene.path);
    peer.write(Buffer.from('CONNECT 52\n'));
    const request = scene.guest.settle()[0]!;
    peer[Symbol.dispose]();
    expect(scene.guest.settle().map(({ op }) => op)).toEqual([OP.rst]);
    expect(scene.guest.stream(request.hostPort, 52)?.state).toBe('reset');
  });

  test('each side can end its direction while the other direction continues', () => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    scene.guest.write(stream, Buffer.from('last words'));
    scene.guest.send(stream, OP.shutdown, SEND);
    expect(peer.readAll()).toEqual({ bytes: Buffer.from('last words'), end: 'end' });
    peer.write(Buffer.from('answer'));
    peer.end();
    scene.guest.settle();
    expect(received(stream)).toBe('answer');
    expect(stream.shutdown & SEND).toBe(SEND);
    expect(stream.state).toBe('open');
    scene.guest.send(stream, OP.shutdown, SEND | RCV);
    scene.guest.settle();
    expect(stream.state).toBe('reset');
  });

  test("the host's end of file follows all its bytes, also if they wait for credit and buffers", () => {
    using scene = new Scene({ buffers: 2, bufferSize: 100 });
    const { stream, peer } = scene.connect(1000, 150);
    const sent = Buffer.from('0123456789'.repeat(200));
    peer.write(sent);
    peer[Symbol.dispose]();
    for (let round = 0; round < 100 && (stream.shutdown & SEND) === 0; round++) {
      scene.guest.settle();
      scene.guest.take(stream, stream.received - stream.taken);
    }
    expect(Buffer.concat(stream.data).equals(sent)).toBe(true);
    expect(stream.shutdown).toBe(SEND | RCV);
  });

  test('bytes that the host has not read are delivered after the guest closes, then end of file', () => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    let sent = 0;
    const block = Buffer.alloc(64 * 1024, 'b');
    for (let count = scene.guest.write(stream, block); count > 0; count = scene.guest.write(stream, block)) {
      sent += count;
      scene.guest.settle();
    }
    // The socket is full, and the granted credit is used up.
    expect(scene.guest.credit(stream)).toBe(0);
    expect(sent).toBeGreaterThan(BUFFER_ALLOCATION);
    scene.guest.send(stream, OP.shutdown, SEND | RCV);
    scene.guest.settle();
    expect(stream.state).toBe('open');
    let got = 0;
    let end: string | undefined;
    while (end === undefined) {
      const all = peer.readAll();
      got += all.bytes.length;
      end = all.end;
      scene.guest.settle();
    }
    expect([got, end]).toEqual([sent, 'end']);
    expect(stream.state).toBe('reset');
  });

  test('bytes that the host has not taken are unsent until it has, also when the guest has closed', () => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    expect(scene.guest.device.isUnsent).toBe(false);
    const block = Buffer.alloc(64 * 1024, 'b');
    for (let count = 1; count > 0; ) count = scene.guest.write(stream, block);
    scene.guest.settle();
    scene.guest.send(stream, OP.rst);
    expect(scene.guest.device.isUnsent).toBe(true);
    for (let end: string | undefined; end === undefined; scene.guest.settle()) end = peer.readAll().end;
    expect(scene.guest.device.isUnsent).toBe(false);
  });

  test('bytes of a connection that the guest resets are delivered, and the port is usable again', () => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    let sent = 0;
    const block = Buffer.alloc(64 * 1024, 'b');
    for (let count = 1; count > 0; sent += count) count = scene.guest.write(stream, block);
    scene.guest.settle();
    scene.guest.send(stream, OP.rst);
    const again = scene.connect();
    expect(again.stream.state).toBe('open');
    let got = 0;
    for (let end: string | undefined; end === undefined; scene.guest.settle()) {
      const all = peer.readAll();
      got += all.bytes.length;
      end = all.end;
    }
    expect(got).toBe(sent);
    again.peer.write(Buffer.from('fresh'));
    scene.guest.settle();
    expect(received(again.stream)).toBe('fresh');
  });

  test('if the guest stops receiving, the host gets EPIPE and a clean end of file', () => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    peer.write(Buffer.from('never read'));
    scene.guest.send(stream, OP.shutdown, RCV);
    expect(peer.write(Buffer.from('more'))).toBe('EPIPE');
    scene.guest.write(stream, Buffer.from('still sending'));
    expect(peer.read()?.toString()).toBe('still sending');
    scene.guest.send(stream, OP.shutdown, SEND);
    expect(peer.read()).toBe('end');
    scene.guest.settle();
    expect(stream.state).toBe('reset');
  });

  test('if the host stops reading, the guest is told at once, and what it sends gets credit', () => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    peer[Symbol.dispose]();
    scene.guest.settle();
    expect(stream.shutdown).toBe(SEND | RCV);
    for (let total = 0; total < 4 * BUFFER_ALLOCATION; scene.guest.settle()) {
      const count = scene.guest.write(stream, Buffer.alloc(65536));
      expect(count).toBeGreaterThan(0);
      total += count;
    }
    scene.guest.send(stream, OP.rst);
    scene.guest.settle();
    expect(scene.guest.strays).toEqual([]);
  });

  test('a guest that sends more than its credit is reset', () => {
    using scene = new Scene();
    const { stream } = scene.connect();
    const header = () => {
      const packet = scene.guest.header(stream, OP.rw);
      packet.length = 65536;
      return packet;
    };
    for (let count = 0; count < 16 && stream.state === 'open'; count++) {
      scene.guest.sendRaw(header(), Buffer.alloc(65536));
      stream.sent += 65536;
      scene.guest.receive();
    }
    expect(stream.state).toBe('reset');
  });

  test.each<[string, (guest: VsockGuest, stream: GuestStream) => void]>([
    [
      'whose length exceeds its bytes',
      (guest, stream) => {
        const header = guest.header(stream, OP.rw);
        header.length = 5;
        guest.sendRaw(header, Buffer.alloc(4));
      },
    ],
    ['with an unknown operation', (guest, stream) => guest.send(stream, 99)],
    ['with operation 0', (guest, stream) => guest.send(stream, 0)],
    ['that asks for the connection again', (guest, stream) => guest.send(stream, OP.request)],
    ['that answers a request that was not sent', (guest, stream) => guest.send(stream, OP.response)],
    [
      'with bytes after the shutdown',
      (guest, stream) => {
        guest.send(stream, OP.shutdown, SEND);
        guest.write(stream, Buffer.from('x'));
      },
    ],
  ])('a packet %s resets its connection', (_, offend) => {
    using scene = new Scene();
    const { stream, peer } = scene.connect();
    offend(scene.guest, stream);
    scene.guest.settle();
    expect(stream.state).toBe('reset');
    expect(peer.read()).toBe('end');
    expect(scene.guest.failures).toEqual([]);
  });

  test('a packet of no connection, another type or another destination is reset; of another source, dropped', () => {
    using scene = new Scene();
    const nobody = { hostPort: 5, guestPort: 6, allocation: 0, taken: 0 } as GuestStream;
    scene.guest.send(nobody, OP.rw);
    const otherType = scene.guest.header(nobody, OP.request);
    otherType.type = 2;
    scene.guest.sendRaw(otherType);
    const otherContext = scene.guest.header(nobody, OP.request);
    otherContext.destinationCid = 2 ** 40 + 5;
    scene.guest.sendRaw(otherContext);
    const otherName = scene.guest.header(nobody, OP.request);
    otherName.sourceCid = GUEST_CID + 1;
    scene.guest.sendRaw(otherName);
    scene.guest.send(nobody, OP.rst);
    scene.guest.settle();
    expect(scene.guest.strays.map(({ op, type, hostCid }) => [op, type, hostCid])).toEqual([
      [OP.rst, 1, 2],
      [OP.rst, 2, 2],
      [OP.rst, 1, 2 ** 40 + 5],
    ]);
  });

  test('a tx packet without a header, and an rx buffer without room for one, break the device', () => {
    using scene = new Scene();
    scene.guest.queueAt(1).add([scene.guest.allocate(43)], []);
    scene.guest.queueAt(1).kick();
    expect(scene.guest.failures).toEqual(['vsock: a tx packet has no header']);
    using small = new Scene({ bufferSize: 44 });
    small.guest.connect(7, 1);
    expect(small.guest.failures).toEqual(['vsock: an rx buffer has no room for a packet']);
    scene.guest.loop.poll(0);
  });

  test('resets for which the driver has no room wait, and none is lost', () => {
    using scene = new Scene({ buffers: 1, bufferSize: 64 });
    const total = 3000;
    let sent = 0;
    const nobody = { hostPort: 5, guestPort: 0, allocation: 0, taken: 0 } as GuestStream;
    while (sent < total && scene.guest.send({ ...nobody, guestPort: sent }, OP.rw)) sent++;
    // The device stops taking packets before it holds thousands of replies.
    expect(sent).toBeLessThan(1200);
    while (sent < total) {
      scene.guest.settle();
      while (sent < total && scene.guest.send({ ...nobody, guestPort: sent }, OP.rw)) sent++;
    }
    scene.guest.settle();
    expect(scene.guest.strays.map(({ guestPort }) => guestPort)).toEqual(Array.from({ length: total }, (_, at) => at));
  });

  test('a storm of connections is served at the rate of the device, and each is answered', () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1000);
    onTestFinished(() => clock.mockRestore());
    using scene = new Scene();
    const { guest } = scene;
    const streams: GuestStream[] = [];
    for (let port = 1; port <= 530; port++) {
      streams.push(guest.connect(9, port));
      guest.settle();
    }
    const refused = () => streams.filter(({ state }) => state === 'reset').length;
    // A tenth of a second's worth of 100,000 packets, of which a connection costs 21.
    expect(refused()).toBe(477);
    clock.mockReturnValue(1100);
    guest.settle();
    expect(refused()).toBe(530);
  });

  test('connections above the limit are reset, and closed ones make room', () => {
    passTime();
    using scene = new Scene();
    const streams: GuestStream[] = [];
    using own = new UnixServer(`${scene.path}_${FIRST_PRIVATE_PORT}`);
    const open = (port: number, server: UnixServer) => {
      const stream = scene.guest.connect(port, 10_000 + streams.length);
      streams.push(stream);
      scene.guest.settle();
      const peer = server.accept();
      if (peer !== undefined) scene.peers.push(peer);
      return stream.state;
    };
    const openKnown = () => open(7, scene.server);
    const openPrivate = () => open(FIRST_PRIVATE_PORT, own);
    // A port that each process of the guest knows takes no room from the others.
    for (let count = PRIVATE_CONNECTIONS; count < MAX_VSOCK_CONNECTIONS; count++) expect(openKnown()).toBe('open');
    expect(openKnown()).toBe('reset');
    for (let count = 0; count < PRIVATE_CONNECTIONS; count++) expect(openPrivate()).toBe('open');
    expect(openPrivate()).toBe('reset');
    // What all of them may hold in the device's memory.
    const granted = streams.reduce(
      (sum, { state, hostAllocation }) => sum + (state === 'open' ? hostAllocation : 0),
      0,
    );
    expect(granted).toBe(64 * BUFFER_ALLOCATION + (MAX_VSOCK_CONNECTIONS - 64) * SMALL_ALLOCATION);
    scene.guest.send(streams[0]!, OP.shutdown, SEND | RCV);
    scene.guest.settle();
    expect(openKnown()).toBe('open');
    expect(openKnown()).toBe('reset');
  });

  test('a busy connection does not delay another', () => {
    using scene = new Scene({ buffers: 4 });
    const busy = scene.connect(1);
    const quiet = scene.connect(2);
    const fill = () => {
      while (Number(busy.peer.write(Buffer.alloc(65536))) > 0);
    };
    fill();
    quiet.peer.write(Buffer.from('hello'));
    for (let round = 0; round < 8 && quiet.stream.received === 0; round++) {
      scene.guest.loop.poll(0);
      scene.guest.receive();
      for (const stream of [busy.stream, quiet.stream]) scene.guest.take(stream, stream.received - stream.taken);
      scene.guest.postBuffers();
      fill();
    }
    expect(received(quiet.stream)).toBe('hello');
  });

  test('a reset closes every socket', () => {
    using scene = new Scene();
    const before = openDescriptors();
    const peers = [1, 2, 3].map((port) => scene.connect(port).peer);
    expect(openDescriptors()).toBe(before + 6);
    scene.guest.writeRegister(STATUS, 0);
    for (const peer of peers) expect(peer.read()).toBe('end');
    expect(openDescriptors()).toBe(before + 3);
  });

  test("a restored device resets the guest's connections by an event, and accepts new ones", () => {
    using scene = new Scene();
    const { peer } = scene.connect();
    scene.guest.replaceDevice(() => {
      expect(existsSync(scene.path)).toBe(false);
      return new VirtioVsock({ guestCid: GUEST_CID, path: scene.path });
    });
    expect(peer.read()).toBe('end');
    scene.guest.settle();
    expect(scene.guest.events).toBe(1);
    const { stream, peer: next } = scene.connect(1001);
    scene.guest.write(stream, Buffer.from('again'));
    expect(next.read()?.toString()).toBe('again');
  });

  test('no connection is made on a restored device before the guest has read that the others are gone', () => {
    using scene = new Scene();
    scene.connect();
    scene.guest.readsEvents = false;
    scene.guest.replaceDevice(() => new VirtioVsock({ guestCid: GUEST_CID, path: scene.path }));
    using client = UnixPeer.connect(scene.path);
    client.write(Buffer.from('CONNECT 52\n'));
    // What the guest sends meanwhile waits too.
    scene.guest.connect(7, 1002);
    expect(scene.guest.settle()).toEqual([]);
    expect(scene.server.accept()).toBeUndefined();
    scene.guest.readsEvents = true;
    const packets = scene.guest.settle();
    expect(packets.map(({ op, guestPort }) => [op, guestPort]).sort()).toEqual([
      [OP.request, 52],
      [OP.response, 1002],
    ]);
  });

  test.each([1, 5])(
    'a device that is restored again, before the guest has read of the first time, with %s buffers',
    (buffers) => {
      using scene = new Scene();
      const events = scene.guest.allocate(4 * buffers);
      for (let each = 1; each < buffers; each++) {
        scene.guest.queueAt(2).add([], [{ address: events.address + 4 * each, length: 4 }]);
      }
      scene.guest.readsEvents = false;
      for (let time = 0; time < 2; time++) {
        scene.guest.replaceDevice(() => new VirtioVsock({ guestCid: GUEST_CID, path: scene.path }));
        scene.guest.settle();
      }
      scene.guest.readsEvents = true;
      scene.guest.settle();
      expect(scene.guest.events).toBe(2);
      const { stream, peer } = scene.connect(1001);
      scene.guest.write(stream, Buffer.from('again'));
      expect(peer.read()?.toString()).toBe('again');
    },
  );

  test('a path that is too long or in use causes one clear error', () => {
    const long = join(folder, 'x'.repeat(100));
    expect(() => new VirtioVsock({ guestCid: 3, path: long })).toThrow(/vsock path is longer than 96 bytes/);
    const path = join(folder, 'taken');
    using first = new VirtioVsock({ guestCid: 3, path });
    expect(() => new VirtioVsock({ guestCid: 3, path })).toThrow(`cannot create vsock socket ${path}: EADDRINUSE`);
    expect(first.name).toBe('vsock');
  });
});

/** An action of the guest or of a host. `which` selects one of the open connections. */
const action = fc.record({
  do: fc.constantFrom(
    'connect',
    'guestWrite',
    'hostWrite',
    'guestTake',
    'hostRead',
    'poll',
    'post',
    'guestEnd',
    'hostEnd',
  ),
  which: fc.nat({ max: 5 }),
  size: fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 300_000 })),
});

describe('vsock with random actions', () => {
  test('delivers every byte once, in order and within the credit', () => {
    const scenes = fc.record({
      buffers: fc.integer({ min: 1, max: 64 }),
      bufferSize: fc.constantFrom(60, 300, 3776, 70_000),
      eventIndex: fc.boolean(),
      allocation: fc.constantFrom(100, 5000, 65536, 262_144),
    });
    fc.assert(
      fc.property(scenes, fc.array(action, { maxLength: 80 }), ({ allocation, ...options }, actions) => {
        using scene = new Scene(options);
        const { guest } = scene;
        const ends: { stream: GuestStream; peer: UnixPeer; toHost: number; toGuest: number; atHost: number }[] = [];
        // Byte n of a direction is n: the place of each is known.
        const bytes = (from: number, length: number) => Buffer.from(Array.from({ length }, (_, at) => (from + at) * 7));
        let arrived = new Map<GuestStream, number>();
        guest.onData = (stream, data) => {
          const from = arrived.get(stream) ?? 0;
          expect(data.equals(bytes(from, data.length))).toBe(true);
          arrived.set(stream, from + data.length);
        };
        const hostRead = (end: (typeof ends)[number], size: number) => {
          const chunk = end.peer.read(size);
          if (!(chunk instanceof Buffer)) return false;
          expect(chunk.equals(bytes(end.atHost, chunk.length))).toBe(true);
          end.atHost += chunk.length;
          return true;
        };
        const ended = new Set<GuestStream>();
        for (const { do: what, which, size } of actions) {
          if (what === 'connect' && ends.length < 6) {
            const { stream, peer } = scene.connect(1000 + ends.length, allocation);
            ends.push({ stream, peer, toHost: 0, toGuest: 0, atHost: 0 });
          }
          if (what === 'poll') guest.loop.poll(0);
          if (what === 'post') guest.postBuffers(size);
          if (ends.length === 0) continue;
          const end = ends[which % ends.length]!;
          const { stream, peer } = end;
          if (what === 'guestWrite' && !ended.has(stream)) end.toHost += guest.write(stream, bytes(end.toHost, size));
          if (what === 'hostWrite') {
            const count = size === 0 ? 0 : peer.write(bytes(end.toGuest, size));
            if (typeof count === 'number') end.toGuest += count;
          }
          if (what === 'guestTake') {
            guest.receive();
            guest.take(stream, Math.min(size, stream.received - stream.taken));
          }
          if (what === 'hostRead' && size > 0) hostRead(end, size);
          if (what === 'guestEnd' && ended.size === 0) ended.add(stream) && guest.send(stream, OP.shutdown, SEND);
          if (what === 'hostEnd' && which === 0) peer.end();
        }
        // Wait until everything has arrived.
        for (let quiet = 0, rounds = 0; quiet < 3; rounds++) {
          expect(rounds).toBeLessThan(500_000);
          let moved = guest.settle().length > 0;
          for (const end of ends) {
            while (hostRead(end, 65536)) moved = true;
            const untaken = end.stream.received - end.stream.taken;
            if (untaken > 0) guest.take(end.stream, untaken);
            moved ||= untaken > 0;
          }
          quiet = moved ? 0 : quiet + 1;
        }
        for (const { stream, toHost, toGuest, atHost } of ends) {
          expect(stream.state).toBe('open');
          expect([atHost, arrived.get(stream) ?? 0]).toEqual([toHost, toGuest]);
        }
        arrived = new Map();
        expect(guest.failures).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  test('survives random packets without a crash, a hang or a leaked descriptor', () => {
    const packet = fc.record({
      source: fc.constantFrom(GUEST_CID, GUEST_CID, GUEST_CID, 4, 2 ** 52),
      destination: fc.constantFrom(2, 2, 2, 3, 2 ** 52),
      sourcePort: fc.nat({ max: 3 }),
      destinationPort: fc.constantFrom(7, 7, 7, 8, 2 ** 30 + 1, 2 ** 30 + 2, 2 ** 32 - 1),
      type: fc.constantFrom(1, 1, 1, 1, 2, 0xffff),
      op: fc.oneof(fc.nat({ max: 8 }), fc.nat({ max: 0xffff })),
      flags: fc.oneof(fc.nat({ max: 3 }), fc.nat()),
      allocation: fc.constantFrom(0, 100, 262_144, 2 ** 32 - 1),
      forward: fc.oneof(fc.nat({ max: 100 }), fc.nat()),
      claimed: fc.oneof(fc.constant(undefined), fc.nat()),
      data: fc.nat({ max: 5000 }),
      host: fc.constantFrom('nothing', 'accept', 'connect', 'write', 'read', 'close', 'end'),
    });
    const before = openDescriptors();
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 80 }), fc.boolean(), (packets, eventIndex) => {
        using scene = new Scene({ eventIndex, buffers: 8 });
        const { guest } = scene;
        const stream = { hostPort: 0, guestPort: 0, allocation: 0, taken: 0 } as GuestStream;
        for (const step of packets) {
          const header = guest.header(stream, step.op);
          header.sourceCid = step.source;
          header.destinationCid = step.destination;
          header.sourcePort = step.sourcePort;
          header.destinationPort = step.destinationPort;
          header.type = step.type;
          header.flags = step.flags;
          header.bufferAllocation = step.allocation;
          header.forwardCount = step.forward;
          header.length = step.claimed ?? step.data;
          guest.sendRaw(header, Buffer.alloc(step.data, 1));
          for (let round = 0; round < 4; round++) guest.loop.poll(0);
          guest.receive();
          guest.postBuffers();
          const peer = scene.peers.at(-1);
          const accepted = step.host === 'accept' ? scene.server.accept() : undefined;
          if (accepted !== undefined) scene.peers.push(accepted);
          if (step.host === 'connect') {
            const connecting = UnixPeer.connect(scene.path);
            connecting.write(Buffer.from(`CONNECT ${step.sourcePort}\n`));
            scene.peers.push(connecting);
          }
          if (step.host === 'write') peer?.write(Buffer.alloc(step.data));
          if (step.host === 'read') peer?.read();
          if (step.host === 'end') peer?.end();
          if (step.host === 'close') scene.peers.pop()?.[Symbol.dispose]();
        }
        // When nothing is pending, no descriptor is polled.
        let rounds = 0;
        while (guest.loop.poll(0) > 0) {
          guest.receive();
          guest.postBuffers();
          expect(rounds++).toBeLessThan(10_000);
        }
        expect(guest.failures).toEqual([]);
      }),
      { numRuns: 300 },
    );
    expect(openDescriptors()).toBe(before);
  });
});
