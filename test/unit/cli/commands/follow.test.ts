// Proves that a job's output is followed across connections that break off, however long it is silent.
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
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
