// The connections of the agent's tool `listen`: whole and in order however their frames are cut,
// within bounds whatever a hostile guest sends.
import { once } from 'node:events';
import { type Duplex, Writable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hasCode } from '../../../../errors/index.js';
import { Multiplexer } from '../../../../sandbox/containers/multiplexer.js';

const LISTENING = frame(0, '');

function frame(id: number, bytes: string | Uint8Array): Buffer {
  const contents = Buffer.from(bytes as Uint8Array);
  const header = Buffer.alloc(8);
  header.writeUInt32BE(id, 0);
  header.writeUInt32BE(contents.length, 4);
  return Buffer.concat([header, contents]);
}

function opened() {
  const frames: Buffer[] = [];
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      frames.push(chunk);
      done();
    },
  });
  const connections: Duplex[] = [];
  let listening = 0;
  const multiplexer = new Multiplexer({
    output,
    onListening: () => listening++,
    onConnection: (connection) => connections.push(connection),
  });
  return { multiplexer, connections, sent: () => Buffer.concat(frames), listening: () => listening };
}

async function all(connection: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of connection.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('hex');
}

test('each connection has its bytes, in order, however the stream is cut', async () => {
  const parts = fc.array(fc.tuple(fc.integer({ min: 1, max: 16 }), fc.uint8Array({ minLength: 1, maxLength: 40 })), {
    maxLength: 60,
  });
  await fc.assert(
    fc.asyncProperty(parts, fc.integer({ min: 1, max: 20 }), async (given, size) => {
      // IDs begin in their order.
      const ids = [...new Set(given.map(([id]) => id))];
      const renamed = given.map(([id, bytes]) => [ids.indexOf(id) + 1, bytes] as const);
      const { multiplexer, connections, listening } = opened();
      const stream = Buffer.concat([
        LISTENING,
        ...renamed.map(([id, bytes]) => frame(id, bytes)),
        ...ids.map((_, index) => frame(index + 1, '')),
      ]);
      for (let at = 0; at < stream.length; at += size) multiplexer.push(stream.subarray(at, at + size));
      expect([listening(), connections.length]).toEqual([1, ids.length]);
      for (const [index, connection] of connections.entries()) {
        const whole = renamed.filter(([id]) => id === index + 1).map(([, bytes]) => bytes);
        expect(await all(connection)).toBe(Buffer.concat(whole).toString('hex'));
        connection.end();
      }
    }),
  );
});

test('what the host writes goes in frames, and its end closes the connection once', async () => {
  const { multiplexer, connections, sent } = opened();
  multiplexer.push(Buffer.concat([LISTENING, frame(1, 'a'), frame(1, '')]));
  const [connection] = connections as [Duplex];
  expect(await all(connection)).toBe(Buffer.from('a').toString('hex'));
  // A client that has ended is still answered.
  connection.end(Buffer.alloc(70_000, 'b'));
  await once(connection, 'close');
  expect(sent().equals(Buffer.concat([frame(1, 'b'.repeat(65_536)), frame(1, 'b'.repeat(4464)), frame(1, '')]))).toBe(
    true,
  );
  // The ID is spent: the guest may not have heard of the end yet.
  multiplexer.push(Buffer.concat([frame(1, 'late'), frame(2, 'next')]));
  expect(connections).toHaveLength(2);
  expect(connections[1]!.read().toString()).toBe('next');
});

test('a connection that nobody reads is closed when it has sent too much, and no other', () => {
  const { multiplexer, connections, sent } = opened();
  multiplexer.push(Buffer.concat([LISTENING, frame(1, 'x'), frame(2, 'y')]));
  for (let count = 0; count < 9; count++) multiplexer.push(frame(1, Buffer.alloc(65_536)));
  expect(connections.map(({ destroyed }) => destroyed)).toEqual([true, false]);
  expect(sent()).toEqual(frame(1, ''));
  multiplexer.end();
  expect(connections.map(({ destroyed }) => destroyed)).toEqual([true, true]);
});

test('bytes that nobody reads take memory by their number, not by that of the pieces', async () => {
  const { multiplexer, connections } = opened();
  multiplexer.push(LISTENING);
  const before = process.memoryUsage().heapUsed + process.memoryUsage().external;
  for (const id of [1, 2, 3, 4]) {
    const pieces = Buffer.concat(Array.from({ length: 7000 }, () => frame(id, 'a')));
    for (let count = 0; count < 74; count++) multiplexer.push(Buffer.from(pieces));
  }
  expect(process.memoryUsage().heapUsed + process.memoryUsage().external - before).toBeLessThan(100 * 2 ** 20);
  multiplexer.push(frame(1, ''));
  expect(await all(connections[0]!)).toHaveLength(2 * 74 * 7000);
});

test('a guest that takes no ends of connections opens no more of them', () => {
  const takes: (() => void)[] = [];
  const output = new Writable({ write: (_chunk, _encoding, done) => void takes.push(done) });
  const multiplexer = new Multiplexer({
    output,
    onListening: () => {},
    onConnection: (connection) => connection.destroy(),
  });
  multiplexer.push(LISTENING);
  for (let id = 1; id <= 1024; id++) multiplexer.push(frame(id, 'a'));
  expect(() => multiplexer.push(frame(1025, 'a'))).toThrow('the guest takes nothing of its connections');
  expect(takes).toHaveLength(1);
});

test('any bytes open at most 16 connections, or are refused', () => {
  const some = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.tuple(fc.integer({ min: 0, max: 40 }), fc.uint8Array({ maxLength: 20 })).map(([id, bytes]) => frame(id, bytes)),
  );
  fc.assert(
    fc.property(fc.boolean(), fc.array(some, { maxLength: 80 }), (begins, chunks) => {
      const { multiplexer, connections } = opened();
      try {
        if (begins) multiplexer.push(LISTENING);
        for (const chunk of chunks) multiplexer.push(chunk);
      } catch (error) {
        expect(hasCode(error, 'agent')).toBe(true);
      }
      expect(connections.length).toBeLessThanOrEqual(16);
      multiplexer.end();
    }),
  );
});

test.each([
  ['a connection before it listens', [frame(1, 'a')]],
  ['a second beginning', [LISTENING, LISTENING]],
  ['a beginning with bytes', [frame(0, 'a')]],
  ['too large a frame', [LISTENING, Buffer.from('0000000100010001', 'hex')]],
  ['a 17th connection', [LISTENING, ...Array.from({ length: 17 }, (_, index) => frame(index + 1, 'a'))]],
])('%s is refused', (_, chunks) => {
  const { multiplexer } = opened();
  expect(() => multiplexer.push(Buffer.concat(chunks))).toThrow(/guest/);
});
