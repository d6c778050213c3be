// The relay of datagrams: what comes to a published port while the guest has no room waits for it.
import { expect, test } from 'vitest';
import * as libc from '../../../../../../vmm/host/libc.js';
import { createUdp } from '../../../../../../vmm/outside/connected-socket.js';
import { SocketAddress } from '../../../../../../vmm/outside/socket-address.js';
import { Peer, relay } from './relay-peer.js';

const CLIENTS = 40;
const WORDS = ['one', 'two', 'three'];

test('no datagram to a published port is lost for lack of room', async () => {
  using peer = new Peer(relay({ ports: [{ protocol: 'udp', address: '127.0.0.1', host: 0, guest: 53, count: 1 }] }));
  const to = new SocketAddress().any(libc.AF_INET, peer.ports[0]?.host ?? 0);
  const clients = Array.from({ length: CLIENTS }, () => libc.check(createUdp(libc.AF_INET), 'socket'));
  try {
    for (const fd of clients) libc.check(libc.connect(fd, to.bytes, to.length), 'connect');
    peer.hasRoom = false;
    // Some come before their client has a socket, some by it, and some while others wait.
    for (const word of WORDS) {
      for (const fd of clients) libc.check(libc.write(fd, Buffer.from(word), word.length), 'write');
      while (peer.loop.poll(0) > 0);
    }
    await peer.until(() => peer.refused > 0);
    expect(peer.frames).toEqual([]);
    peer.hasRoom = true;
    peer.backEnd.resume();
    // A busy host may deliver them later than they were sent.
    await peer.until(() => peer.frames.length >= CLIENTS * WORDS.length);
    while (peer.loop.poll(0) > 0);
    const came = peer.frames.map((bytes) => {
      const { sourcePort, payload, end } = peer.parse(bytes);
      return `${sourcePort} ${bytes.subarray(payload, end)}`;
    });
    const ports = new Set(came.map((each) => each.split(' ')[0]));
    expect(ports.size).toBe(CLIENTS);
    expect(came.sort()).toEqual([...ports].flatMap((port) => WORDS.map((word) => `${port} ${word}`)).sort());
  } finally {
    for (const fd of clients) libc.close(fd);
  }
});
