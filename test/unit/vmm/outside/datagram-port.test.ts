// A published port of UDP: what clients send while their sockets are being made.
import { spawn } from 'node:child_process';
import { setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import * as libc from '../../../../vmm/host/libc.js';
import { createUdp } from '../../../../vmm/outside/connected-socket.js';
import { DatagramPort } from '../../../../vmm/outside/datagram-port.js';
import { SocketAddress } from '../../../../vmm/outside/socket-address.js';

/** As many datagrams as fit in a socket's buffer. */
const CLIENTS = 60;
const DATAGRAMS = 3;
/** Many, as a datagram has to come while another client's socket is bound and not yet connected. */
const BURSTS = 40;

/** For each line of its input: says so once new clients have sent to the port of its first argument. */
const SENDER = `
  const { createSocket } = require('node:dgram');
  const { once } = require('node:events');
  const words = Array.from({ length: ${DATAGRAMS} }, (_, index) => String(index));
  let clients = [];
  process.stdin.on('data', async () => {
    for (const each of clients) each.close();
    clients = Array.from({ length: ${CLIENTS} }, () => createSocket('udp4'));
    for (const each of clients) {
      each.connect(Number(process.argv[1]), '127.0.0.1');
      await once(each, 'connect');
    }
    await Promise.all(clients.flatMap((each) => words.map((word) => new Promise((done) => each.send(word, done)))));
    process.stdout.write('.');
  });`;

test('each datagram of many clients that send at once arrives', async () => {
  const bound = libc.check(createUdp(libc.AF_INET), 'socket');
  const address = new SocketAddress().any(libc.AF_INET, 0);
  libc.check(libc.bind(bound, address.bytes, address.length), 'bind');
  using port = new DatagramPort(bound);
  libc.check(libc.getsockname(bound, address.bytes, address.size), 'getsockname');
  const words = ['-e', SENDER, String(address.read().port)];
  const sender = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void sender.kill());
  let sent = 0;
  sender.stdout.on('data', (said: Buffer) => {
    sent += said.length;
  });
  const bytes = Buffer.alloc(100);
  for (let burst = 0; burst < BURSTS; burst++) {
    const sockets: number[] = [];
    let arrived = 0;
    const take = (): number => {
      const { arrivals, sockets: made } = port.receive();
      sockets.push(...made);
      arrived += arrivals.length;
      return arrivals.length;
    };
    sender.stdin.write('\n');
    while (sent === burst) {
      take();
      await setImmediate();
    }
    // A busy host may deliver a datagram later than it was sent.
    const readAll = () => {
      while (take() > 0);
      for (const fd of sockets) while (libc.read(fd, bytes, bytes.length) >= 0) arrived++;
      return [burst, arrived];
    };
    await expect.poll(readAll, { interval: 1 }).toEqual([burst, CLIENTS * DATAGRAMS]);
    for (const fd of sockets) libc.close(fd);
  }
});
