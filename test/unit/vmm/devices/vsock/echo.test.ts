// The socket device with a real server in another process.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OP, SEND, VsockGuest } from '../../../../fixtures/vsock-guest.js';

/** A program that echoes the bytes it receives. It exits when its parent exits. */
const SERVER = `
  const server = require('node:net').createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  server.listen(process.argv[1], () => process.stdout.write('ready'));
  process.stdin.resume().on('end', () => process.exit());
`;

test('100 MB to a server in another process and back arrive unchanged, then end of file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-echo-'));
  const path = join(folder, 'v');
  const server = spawn(process.execPath, ['-e', SERVER, `${path}_7`], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await new Promise((resolve) => server.stdout.once('data', resolve));
    using guest = new VsockGuest(path);
    const total = 100 * 1000 * 1000;
    const source = Buffer.alloc(1024 * 1024 + 13);
    for (let at = 0; at < source.length; at++) source[at] = (at * 2654435761) >>> 13;
    const sentHash = createHash('sha256');
    const receivedHash = createHash('sha256');
    guest.onData = (_, bytes) => receivedHash.update(bytes);
    const stream = guest.connect(7, 1000);
    let sent = 0;
    while ((stream.shutdown & SEND) === 0) {
      let moved = guest.receive().length;
      guest.postBuffers();
      if (stream.received - stream.taken >= 64 * 1024) guest.take(stream, stream.received - stream.taken);
      while (sent < total && stream.state === 'open') {
        const at = sent % source.length;
        const piece = source.subarray(at, Math.min(at + 64 * 1024, source.length, at + total - sent));
        const count = guest.write(stream, piece, false);
        if (count === 0) break;
        sentHash.update(piece.subarray(0, count));
        sent += count;
        moved++;
        if (sent === total) guest.send(stream, OP.shutdown, SEND);
      }
      guest.queueAt(1).kick();
      guest.loop.poll(moved > 0 ? 0 : 1000);
      expect(stream.state).not.toBe('reset');
    }
    expect(stream.received).toBe(total);
    expect(receivedHash.digest('hex')).toBe(sentHash.digest('hex'));
  } finally {
    server.kill();
    rmSync(folder, { recursive: true });
  }
});
