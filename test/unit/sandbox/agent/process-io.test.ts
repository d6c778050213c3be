// The streams of a process are the caller's, in the order in which it wrote.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, expect, test } from 'vitest';
import { ProcessIo } from '../../../../sandbox/agent/process-io.js';
import { encodeFrame } from '../../../../sandbox/agent/protocol.js';
import { StreamListener } from '../../../../sandbox/agent/stream-listener.js';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Two ends of a connection. The first one is paused, as what a listener of streams gives. */
async function pair(): Promise<[Socket, Socket]> {
  const path = join(folder, `socket-${Math.random()}`);
  const server = createServer({ pauseOnConnect: true }).listen(path);
  await once(server, 'listening');
  const theirs = connect(path);
  const [ours] = (await once(server, 'connection')) as [Socket];
  server.close();
  return [ours, theirs];
}

test('stdout comes before what was written to stderr after it, though stderr opens with its bytes', async () => {
  const [stdout, guestStdout] = await pair();
  const [stderr, guestStderr] = await pair();
  const said: string[] = [];
  const sink = (name: string) =>
    new Writable({
      write(chunk, _encoding, done) {
        said.push(`${name}: ${chunk}`);
        done();
      },
    });
  const io = new ProcessIo(
    { stdout: sink('stdout'), stderr: sink('stderr') },
    { onBrokenPipe: () => {}, onWriteError: () => {} },
  );
  // In the kernel, and not read: the process wrote it first.
  guestStdout.end('one');
  // Read with the words that say which stream it is.
  stderr.unshift(Buffer.from('two'));
  guestStderr.end();
  await io.connect(async (name) => (name === 'stdout' ? stdout : stderr), { terminal: false, stdin: false });
  expect(said.filter((each) => !each.endsWith(': '))).toEqual(['stdout: one', 'stderr: two']);
});

test.each(['', 'some'])('streams that end as they open end the output: %j', async (words) => {
  const path = join(folder, `streams-${words}`);
  using listener = await StreamListener.listen(path);
  listener.expect({ id: 7 });
  const said: string[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      said.push(`${chunk}`);
      done();
    },
  });
  const io = new ProcessIo({ stdout: sink, stderr: sink }, { onBrokenPipe: () => {}, onWriteError: () => {} });
  const output = io.connect((name) => listener.stream(7, name), { terminal: false, stdin: false });
  for (const stream of ['stdout', 'stderr'] as const) {
    const guest = connect(path);
    guest.write(encodeFrame({ type: 'stream', process: 7, stream }));
    guest.end(words);
  }
  await output;
  expect(said.join('')).toBe(words.repeat(2));
});
