// What becomes of a guest's network when passt ends or stands still: TCP does not notice, and passt
// is started again with its ports.
import { createSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { formatAddress } from '../../../../../addresses/ip.js';
import { type Frame, UDP } from '../../../../../vmm/devices/net/frame.js';
import type { PublishedPorts } from '../../../../../vmm/machine.js';
import { ACK, SYN, tcp } from '../../../../fixtures/frames.js';
import { Peer, passt } from './passt-peer.js';

const address = '127.0.0.1';
const PORTS: PublishedPorts[] = (['tcp', 'udp'] as const).map((protocol) => ({
  ...{ protocol, address, host: 0, guest: 22, count: 1 },
}));

/** The guest's answer to a segment that opens a connection. */
function answerTo(frame: Frame) {
  return {
    source: formatAddress(frame.destination),
    destination: formatAddress(frame.source),
    sourcePort: 22,
    destinationPort: frame.sourcePort,
    acknowledgment: (frame.sequence + 1) >>> 0,
  };
}

test('passt is started again with its ports when it was killed, and connections stay', async () => {
  using peer = new Peer(passt({ ports: PORTS }));
  await peer.until(() => peer.up);
  const { ports, pid } = peer;
  let heard = '';
  const client: Socket = connect(ports[0]!.host, address);
  client.on('data', (chunk) => {
    heard += chunk.toString();
  });
  const to = answerTo(await peer.tcpFrame(SYN));
  peer.send(tcp({ ...to, flags: SYN | ACK }));
  await peer.tcpFrame(ACK);
  process.kill(pid, 'SIGKILL');
  await peer.until(() => peer.error);
  expect(peer.error?.message).toMatch(/^passt ended \(signal (9|SIGKILL)\)$/);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, payload: Buffer.from('still here') }));
  await peer.until(() => heard === 'still here');
  await peer.until(() => peer.up);
  expect([peer.ends, peer.isLost, peer.ports]).toEqual([1, false, ports]);
  expect(peer.pid).not.toBe(pid);
  // A datagram comes through passt again.
  peer.frames.length = 0;
  const sender = createSocket('udp4');
  sender.send('hello', ports[1]!.host, address);
  await peer.until(() => peer.frames.some((frame) => peer.parse(frame).kind === UDP));
  sender.close();
  client.destroy();
});

test('passt that ends again and again is started less and less often, and then serves', async () => {
  using peer = new Peer(passt());
  const began = performance.now();
  for (let death = 1; death <= 5; death++) {
    await peer.until(() => peer.up);
    process.kill(peer.pid, 'SIGFPE');
    await peer.until(() => peer.error);
    expect(peer.error?.message).toMatch(/^passt ended \(signal (8|SIGFPE)\)$/);
    peer.error = undefined;
  }
  await peer.until(() => peer.up);
  expect(peer.ends).toBe(5);
  // 0, 100, 200, 400 and 800 ms.
  expect(performance.now() - began).toBeGreaterThan(1500);
});

test('passt that stands still is replaced', async () => {
  using peer = new Peer(passt(), { patience: 100 });
  await peer.until(() => peer.up);
  const { pid } = peer;
  process.kill(pid, 'SIGSTOP');
  await peer.until(() => peer.error);
  expect(peer.error?.message).toBe('passt does not answer');
  await peer.until(() => peer.up);
  expect(peer.pid).not.toBe(pid);
});
