// Proves that a job's output is followed across connections that break off, however long it is silent.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ServiceClient } from '../../../../cli/commands/service/client.js';
import { followOutput, type OutputEvent } from '../../../../cli/commands/service/follow.js';

const LINE = 'data: {"stream":"stdout","log":"one\\n"}\n\n';
const END = 'event: end\ndata: {}\n\n';

let server: Server;
let answers: ((answer: ServerResponse) => void)[];
let asked: (string | undefined)[];
/** Called once an event has arrived, and the next one is waited for. */
let arrived: (() => void) | undefined;

beforeEach(async () => {
  vi.stubEnv('TSVM_KEY', 'key');
  asked = [];
  arrived = undefined;
  server = createServer((request, answer) => {
    asked.push(request.headers['last-event-id']?.toString());
    answers.shift()?.(answer);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  server.closeAllConnections();
  server.close();
});

async function followed(): Promise<OutputEvent[]> {
  const { port } = server.address() as AddressInfo;
  const found: OutputEvent[] = [];
  const client = new ServiceClient({ server: `http://127.0.0.1:${port}` });
  for await (const event of followOutput(client, '/events')) {
    found.push(event);
    if (arrived !== undefined) setImmediate(arrived);
  }
  return found;
}

/** Ten minutes pass. */
function wait(): void {
  const now = performance.now() + 600_000;
  vi.spyOn(performance, 'now').mockReturnValue(now);
}

test('it goes on after a connection that breaks off after a long silence', async () => {
  answers = [
    (answer) => {
      answer.write(`id: 1:40\n${LINE}`);
      arrived = () => {
        wait();
        answer.destroy();
      };
    },
    (answer) => answer.end(`id: 1:80\n${END}`),
  ];
  expect(await followed()).toEqual([{ name: 'line', line: { stream: 'stdout', log: 'one\n' } }]);
  expect(asked).toEqual([undefined, '1:40']);
});

test('it gives up on a service that does not answer for long', async () => {
  answers = [
    (answer) => {
      wait();
      answer.destroy();
    },
  ];
  await expect(followed()).rejects.toThrow('cannot reach');
});

/** How a server answers that is cut off at some point, and how it is cut off. */
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
const EVENT = `id: 1:40\n${LINE}`;
const CHUNK = `${EVENT.length.toString(16)}\r\n${EVENT}\r\n`;
const WAYS = ['end', 'destroy', 'resetAndDestroy'] as const;
const POINTS = [
  ['as soon as it is open', undefined],
  ['after the request', ''],
  ['within the head', HEAD.slice(0, 30)],
  ['after the head', HEAD],
  ['within an event', (HEAD + CHUNK).slice(0, -20)],
  ['after an event', HEAD + CHUNK],
] as const;

/** Cuts the first connection off, and serves the others. */
function cutFirst(way: (typeof WAYS)[number], text: string | undefined): void {
  let isCut = false;
  const serve = server.listeners('connection');
  server.removeAllListeners('connection');
  server.on('connection', (socket) => {
    if (isCut) {
      for (const listener of serve) listener.call(server, socket);
      return;
    }
    isCut = true;
    socket.on('error', () => {}).resume();
    if (text === undefined) socket[way]();
    else if (text === '') socket.once('data', () => socket[way]());
    else socket.write(text, () => socket[way]());
  });
  // A connection that is reset may lose what was sent: only the client knows what has arrived.
  answers = [(answer) => answer.end(asked.at(-1) === '1:40' ? END : EVENT + END)];
}

test.each(WAYS.flatMap((way) => POINTS.map(([name, text]) => [way, name, text] as const)))(
  'it goes on after %s of a connection %s',
  async (way, _, text) => {
    cutFirst(way, text);
    expect(await followed()).toEqual([{ name: 'line', line: { stream: 'stdout', log: 'one\n' } }]);
  },
);

// With the server in another process the connection is closed before the client has seen it open.
test.each(WAYS)('tsvm job logs -f goes on after %s of a connection as soon as it is open', async (way) => {
  cutFirst(way, undefined);
  const { port } = server.address() as AddressInfo;
  const tsvm = fileURLToPath(new URL('../../../../bin/tsvm', import.meta.url));
  const env = { ...process.env, TSVM_SERVER: `http://127.0.0.1:${port}` };
  expect(await promisify(execFile)(tsvm, ['job', 'logs', '-f', 'job-1'], { env })).toMatchObject({
    ...{ stdout: 'one\n', stderr: '' },
  });
  expect(asked).toEqual([undefined]);
});
