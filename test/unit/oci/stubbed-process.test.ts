// Proves what the stub of a process is told, and when.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { StubbedProcess } from '../../../oci/keeper/stubbed-process.js';
import { encodeFrame, HostFrameDecoder } from '../../../sandbox/agent/protocol.js';
import { AgentSession } from '../../../sandbox/agent/session.js';
import { GuestContainer } from '../../../sandbox/run/guest-container.js';

const ID = 7;
const HELLO = { type: 'hello', protocol: 2, agent: 'test', kernel: '6.1' } as const;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-stub-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** The keeper's end of a stub's connection, and the stub's. */
async function stubSockets(): Promise<[Socket, Socket]> {
  const path = join(folder, 'control');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const accepted = once(server, 'connection');
  const stub = await connected(path);
  const [keeper] = await accepted;
  onTestFinished(() => void keeper.destroy());
  return [keeper, stub];
}

/** A container whose agent, this test, answers with `frames` at once. */
async function container(answer: (request: number) => Buffer[]): Promise<GuestContainer> {
  const path = join(folder, 'agent');
  const session = await AgentSession.listen(path);
  onTestFinished(() => session[Symbol.dispose]());
  session.lost.catch(() => {});
  const agent = await connected(path);
  agent.write(encodeFrame(HELLO));
  await session.hello;
  agent.once('data', (bytes: Buffer) => {
    const [frame] = new HostFrameDecoder().push(bytes);
    if (frame?.type === 'process') agent.write(Buffer.concat(answer(frame.request)));
  });
  return new GuestContainer({ whileAlive: (promise) => promise }, session, 1, Promise.resolve());
}

test('a process that ends at once is told of after its start', async () => {
  const [keeper, stub] = await stubSockets();
  const made = await container((request) => [
    encodeFrame({ type: 'started', request, process: ID, pid: 2 }),
    encodeFrame({ type: 'exited', process: ID, container: 1, signal: 9 }),
  ]);
  let told = '';
  stub.setEncoding('utf8').on('data', (text) => {
    told += text;
  });
  const process = new StubbedProcess(keeper, { id: ID, port: 1031, argv: ['sh'] });
  await process.start(made, undefined, () => keeper.write('ok\n'));
  await expect.poll(() => told).toBe('ok\nexit 137\n');
});
