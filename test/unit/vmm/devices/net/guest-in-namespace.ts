// A guest's network device in a network namespace of its host, for neighbours.host.test.ts. Reads a
// line of addresses at a time, sends each a SYN, and prints a line with what came back.
import { createInterface } from 'node:readline';
import { createNet } from '../../../../../vmm/accel/network.js';
import { RECEIVE, TRANSMIT } from '../../../../../vmm/devices/net/device.js';
import { Frame, TCP, TCP_ACK, TCP_RST, TCP_SYN } from '../../../../../vmm/devices/net/frame.js';
import { EventLoop } from '../../../../../vmm/host/event-loop.js';
import type { NetworkSpec, RelaySpec } from '../../../../../vmm/machine.js';
import { GATEWAY, GUEST, PEER_RANGES, tcp } from '../../../../fixtures/frames.js';
import { ownNetwork, ownSockets } from '../../../../fixtures/own-network.js';
import { VirtioDriver } from '../../../../fixtures/virtio-driver.js';

const HEADER = 12;
const ROOM = 4096;
const BUFFERS = 64;
const PORT = 8080;

const loop = new EventLoop();
const backEnd: RelaySpec = { kind: 'relay', ports: [], reachHost: false };
const spec: NetworkSpec = {
  ...{ mac: GUEST.mac, gatewayMac: GATEWAY.mac, mtu: 1500, optional: false },
  ...{ addresses: [GUEST.ipv4, GUEST.ipv6], gateways: [GATEWAY.ipv4, GATEWAY.ipv6], resolvers: [] },
  ...{ peerRanges: PEER_RANGES, maxConnections: 100, rules: JSON.parse(process.argv[2] ?? '[]') },
  backEnd,
};
const fail = (reason: unknown): never => {
  throw new Error(String(reason));
};
const { routeSocket, networks } = ownNetwork();
const device = createNet(spec, {
  loop,
  routeSocket,
  tap: () => fail('a tap interface'),
  published: () => [],
  sockets: ownSockets(spec, backEnd),
  networks,
  onNetworkUp: () => {},
  onRefusal: () => {},
});
const driver = new VirtioDriver(device, { memorySize: 4 * 1024 * 1024, features: undefined }).start();
const rooms = Array.from({ length: BUFFERS }, () => driver.allocate(ROOM, 1));
for (const room of rooms) driver.queueAt(RECEIVE).add([], [room]);
const out = driver.allocate(HEADER + 200, 1);
/** The buffers are used in turn. */
let next = 0;
let sourcePort = 40000;

function transmit(frame: Uint8Array): void {
  driver.bytes(out).fill(0);
  driver.bytes(out).set(frame, HEADER);
  driver.queueAt(TRANSMIT).add([{ address: out.address, length: HEADER + frame.length }], []);
  driver.queueAt(TRANSMIT).kick();
  driver.queueAt(TRANSMIT).takeUsed();
}

function receive(): Uint8Array | undefined {
  const used = driver.queueAt(RECEIVE).takeUsed();
  if (used === undefined) return undefined;
  const room = rooms[next++ % BUFFERS]!;
  const frame = Uint8Array.from(driver.bytes(room).subarray(HEADER, used.length));
  driver.queueAt(RECEIVE).add([], [room]);
  driver.queueAt(RECEIVE).kick();
  return frame;
}

/** Waits for what the SYN to this address brings back. */
function tryConnection(address: string): string {
  const to = { destination: address, destinationPort: PORT, sourcePort: sourcePort++ };
  transmit(tcp(to));
  const frame = new Frame();
  for (;;) {
    const bytes = receive();
    if (bytes === undefined) {
      loop.poll(10);
      continue;
    }
    frame.parse(bytes, 0, bytes.length);
    if (frame.kind !== TCP || frame.destinationPort !== to.sourcePort) continue;
    if ((frame.tcpFlags & TCP_RST) !== 0) return 'refused';
    if ((frame.tcpFlags & (TCP_SYN | TCP_ACK)) === (TCP_SYN | TCP_ACK)) {
      transmit(tcp({ ...to, flags: TCP_RST }));
      return 'connected';
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(line.split(' ').map(tryConnection).join(' '));
}
device[Symbol.dispose]();
process.exit(0);
