// The passt back end with the real passt. The guest's connections are frames that the test makes.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { formatAddress } from '../../../../../addresses/ip.js';
import type { FrameReceiver } from '../../../../../vmm/devices/net/back-end.js';
import { HEADROOM } from '../../../../../vmm/devices/net/back-end.js';
import { ARP, Frame, NEIGHBOUR, TCP } from '../../../../../vmm/devices/net/frame.js';
import { NetHeader } from '../../../../../vmm/devices/net/header.js';
import { PasstBackEnd } from '../../../../../vmm/devices/net/passt.js';
import { passtArguments } from '../../../../../vmm/devices/net/passt-arguments.js';
import { greeting } from '../../../../../vmm/devices/net/passt-greeting.js';
import { EventLoop } from '../../../../../vmm/host/event-loop.js';
import * as libc from '../../../../../vmm/host/libc.js';
import type { MachineError, NetworkSpec, PasstSpec, PublishedPorts } from '../../../../../vmm/machine.js';
import { BufferList } from '../../../../../vmm/virtio/buffers.js';
import { ACK, GATEWAY, GUEST, PEER_RANGES, SYN, tcp } from '../../../../fixtures/frames.js';
import { GuardedMemory } from '../../../../fixtures/virtio-driver.js';

const RST = 4;

function networkSpec(backEnd: PasstSpec): NetworkSpec {
  return {
    ...{ mac: GUEST.mac, gatewayMac: GATEWAY.mac, mtu: 65520, optional: false },
    ...{
      addresses: [GUEST.ipv4],
      gateways: [GATEWAY.ipv4],
      resolvers: [],
      rules: [],
      peerRanges: PEER_RANGES,
      maxConnections: 100,
    },
    backEnd,
  };
}

const passt = (more: Partial<PasstSpec> = {}): PasstSpec => ({
  ...{ kind: 'passt', ports: [], reachHost: true, interface: 'lo' },
  ...more,
});

class Peer implements FrameReceiver, Disposable {
  readonly loop = new EventLoop();
  readonly frames: Buffer[] = [];
  readonly backEnd: PasstBackEnd;
  readonly #memory = GuardedMemory.allocate(65536);
  up = false;
  ports: PublishedPorts[] = [];
  error: MachineError | undefined;
  isLost = false;
  hasRoom = true;

  constructor(backEnd: PasstSpec) {
    this.backEnd = new PasstBackEnd(networkSpec(backEnd), backEnd, {
      loop: this.loop,
      onUp: (ports) => {
        this.up = true;
        this.ports = ports;
      },
      onDown: (error) => {
        this.error = error;
      },
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
    this.backEnd.send({
      header: new NetHeader(),
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

  [Symbol.dispose](): void {
    this.backEnd[Symbol.dispose]();
    this.loop[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}

function childrenNamed(name: string): number[] {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'latin1').trim().split(' ');
  return children.map(Number).filter((pid) => pid > 0 && readFileSync(`/proc/${pid}/comm`, 'latin1').startsWith(name));
}

async function listen(): Promise<{ server: ReturnType<typeof createServer>; port: number }> {
  const server = createServer((socket) => socket.on('error', () => {}).end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as { port: number }).port };
}

test('passt reports when it serves, and turns a connection of the guest into one of the host', async () => {
  using peer = new Peer(passt());
  const { server, port } = await listen();
  await peer.until(() => peer.up);
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  const answer = await peer.tcpFrame(SYN | ACK);
  expect([answer.sourcePort, answer.destinationPort]).toEqual([port, 40000]);
  // The guest does not see the reply to the back end's own ARP request.
  expect(peer.frames.every((frame) => frame.readUInt16BE(12) !== 0x0806)).toBe(true);
  server.close();
});

test('the host is unreachable unless the spec allows it', async () => {
  const { server, port } = await listen();
  using peer = new Peer(passt({ reachHost: false }));
  await peer.until(() => peer.up);
  let connections = 0;
  server.on('connection', () => {
    connections++;
  });
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  // This connection is requested later, and its reply arrives.
  peer.send(tcp({ sourcePort: 40001, destination: '127.0.0.1', destinationPort: 1 }));
  await peer.tcpFrame(RST);
  expect(connections).toBe(0);
  server.close();
});

test('frames for which the guest has no room wait until there is room', async () => {
  using peer = new Peer(passt());
  const { server, port } = await listen();
  await peer.until(() => peer.up);
  peer.hasRoom = false;
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  for (let turn = 0; turn < 20; turn++) peer.loop.poll(5);
  expect(peer.frames).toHaveLength(0);
  peer.hasRoom = true;
  peer.backEnd.resume();
  await peer.tcpFrame(SYN | ACK);
  server.close();
});

test('a port that is in use causes an error', async () => {
  const { server, port } = await listen();
  const ports: PublishedPorts[] = [{ protocol: 'tcp', address: '127.0.0.1', host: port, guest: 80, count: 1 }];
  expect(() => new Peer(passt({ ports }))).toThrow(`cannot publish port 127.0.0.1:${port}/tcp: it is in use`);
  server.close();
});

test('chosen ports are reported and lead to the guest', async () => {
  const address = '127.0.0.1';
  const ports: PublishedPorts[] = [{ protocol: 'tcp', address, host: 0, guest: 80, count: 1 }];
  using peer = new Peer(passt({ ports }));
  await peer.until(() => peer.up);
  const { host } = peer.ports[0]!;
  expect(peer.ports).toEqual([{ ...ports[0], host }]);
  const client = connect(host, address);
  client.on('error', () => {});
  const frame = await peer.tcpFrame(SYN);
  expect(frame.destinationPort).toBe(80);
  client.destroy();
});

test('the death of passt is reported and takes the link down', async () => {
  using peer = new Peer(passt());
  await peer.until(() => peer.up);
  const pid = childrenNamed('passt')[0]!;
  process.kill(pid, 'SIGKILL');
  await peer.until(() => peer.error);
  expect(peer.error?.message).toBe('passt ended (signal 9)');
  expect(peer.isLost).toBe(true);
  // A frame is now dropped.
  peer.send(tcp());
});

test('passt exits with its back end, and runs without capabilities and without a file system', async () => {
  const peer = new Peer(passt());
  await peer.until(() => peer.up);
  const pid = childrenNamed('passt')[0]!;
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  expect(status).toMatch(/^Seccomp:\t2$/m);
  expect(status).toMatch(/^CapEff:\t0+$/m);
  expect(execFileSync('ls', ['-A', `/proc/${pid}/root`], { encoding: 'utf8' })).toBe('');
  const ended = libc.pidfdOpen(pid);
  peer[Symbol.dispose]();
  using loop = new EventLoop();
  let gone = false;
  loop.add(ended, libc.EPOLLIN, () => {
    gone = true;
  });
  while (!gone) loop.poll(100);
  libc.close(ended);
});

test('the greeting announces the guest to passt in valid frames of both address families', () => {
  const spec = networkSpec(passt());
  const [request, ...none] = greeting(spec) as [Uint8Array];
  expect(none).toEqual([]);
  spec.addresses.push(GUEST.ipv6, GUEST.local);
  spec.gateways.push(GATEWAY.ipv6);
  const [advertisement, again] = greeting(spec) as [Uint8Array, Uint8Array];
  expect(again).toEqual(request);
  const frame = new Frame();
  frame.parse(advertisement, 0, advertisement.length);
  expect(frame).toMatchObject({ kind: NEIGHBOUR, operation: 136, end: advertisement.length });
  expect([frame.source, frame.target].map((words) => formatAddress(words))).toEqual([GUEST.local, GUEST.local]);
  expect(frame.parse(request, 0, request.length) && frame.kind).toBe(ARP);
});

test('the arguments of passt contain the addresses, the ports and the restrictions', () => {
  const { interface: _, ...backEnd } = passt({
    ports: [
      { protocol: 'tcp', host: 8080, guest: 80, count: 1 },
      { protocol: 'udp', address: '::1', host: 5000, guest: 53, count: 3 },
    ],
    reachHost: false,
    forwardDns: '198.19.0.3',
  });
  const spec = networkSpec(backEnd);
  spec.addresses.push('fd74:7376:6d::2', 'fe80::2');
  spec.gateways.push('fe80::1');
  const words = passtArguments(spec, backEnd, backEnd.ports).join(' ');
  expect(words).toContain('--address 198.19.0.2 --netmask 24');
  expect(words).toContain('--address fd74:7376:6d::2 ');
  expect(words).toContain('--gateway 198.19.0.1 --gateway fe80::1');
  expect(words).toContain('--tcp-ports 8080:80 --udp-ports ::1/5000-5002:53-55');
  expect(words).toContain('--no-map-gw');
  expect(words).not.toContain('--ipv4-only');
});
