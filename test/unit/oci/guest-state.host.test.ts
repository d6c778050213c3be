// Proves that what engines see of a container and what the real agent has agree in the end, though the
// guest answers a change later than anybody waits for it.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { GuestState } from '../../../oci/keeper/guest-state.js';
import { askTool } from '../../../oci/keeper/guest-tool.js';
import { AgentSession } from '../../../sandbox/agent/session.js';
import { GuestContainer } from '../../../sandbox/run/guest-container.js';
import { buildAgent, runInside, spawnAgent } from '../guest-agent/agent-under-test.js';
import { type LoopDevice, makeContainerImage } from '../guest-agent/container-image.js';

const BOX = 7;
const LATE = { code: 'unresponsive', message: 'the guest has not answered in 30 s' };
let directory: string;
let agent: string;
let image: LoopDevice;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsvm-guest-state-'));
  agent = buildAgent();
  image = makeContainerImage();
});
afterAll(() => {
  image[Symbol.dispose]();
  rmSync(directory, { recursive: true });
});

/** Passes bytes on between the agent and its host. What the agent says can be held. */
class Wire {
  readonly #sockets: [agent: Socket, host: Socket][] = [];
  #isHeld = false;

  constructor(from: string, to: string) {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const host = connect({ path: to, allowHalfOpen: true });
      for (const each of [socket, host]) each.on('error', () => {});
      this.#sockets.push([socket, host]);
      host.pipe(socket);
      if (!this.#isHeld) socket.pipe(host);
    });
    server.listen(from);
    onTestFinished(() => {
      server.close();
      for (const socket of this.#sockets.flat()) socket.destroy();
    });
  }

  hold(): void {
    this.#isHeld = true;
    for (const [socket, host] of this.#sockets) {
      socket.unpipe(host);
      socket.pause();
    }
  }

  release(): void {
    this.#isHeld = false;
    for (const [socket, host] of this.#sockets) socket.pipe(host);
  }
}

/** A container of a real agent, in which a process runs. */
async function container() {
  const folder = mkdtempSync(join(directory, 'agent-'));
  const [from, to] = [join(folder, 'agent.sock'), join(folder, 'host.sock')];
  const session = await AgentSession.listen(to);
  session.lost.catch(() => {});
  const wire = new Wire(from, to);
  const child = spawnAgent(agent, from);
  onTestFinished(async () => {
    session.shutdown();
    if (child.exitCode === null) await once(child, 'exit');
    session[Symbol.dispose]();
  });
  await session.hello;
  await session.setUp({});
  const made = session.create({ id: BOX, hostname: 'box', root: { device: image.device } });
  const guest = new GuestContainer({ whileAlive: (promise) => promise }, session, BOX, made);
  const first = guest.start({ id: 1, argv: ['sleep', '1000'] });
  first.discardOutput();
  await first.started();
  let id = 1;
  const state = new GuestState((argv, onFailed) => askTool(guest, ++id, argv, onFailed), {});
  const events = () => runInside(child.pid, 'cat', `/sys/fs/cgroup/container-${BOX}/cgroup.events`);
  return { wire, guest, state, isFrozen: () => events().includes('frozen 1') };
}

/** Gives a change up for whose answer the host has waited, which the guest has made. */
async function givenUp(wire: Wire, change: () => Promise<void>, isMade: () => boolean): Promise<void> {
  wire.hold();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const changed = change();
    changed.catch(() => {});
    while (!isMade()) await new Promise((resolve) => setImmediate(resolve));
    await vi.advanceTimersByTimeAsync(30_000);
    await expect(changed).rejects.toMatchObject(LATE);
  } finally {
    vi.useRealTimers();
  }
}

test('a pause that was given up leaves no frozen container', async () => {
  const { wire, guest, state, isFrozen } = await container();
  await givenUp(wire, () => state.inTurn(() => state.pause([])), isFrozen);
  expect(state.isPaused).toBe(false);
  // The agent would wait for a process that it starts now.
  expect(() => state.checkStart()).toThrow('the guest has not answered an earlier request yet');
  wire.release();
  await expect.poll(isFrozen).toBe(false);
  await expect.poll(() => state.checkStart()).toBeUndefined();
  const next = guest.start({ id: 100, argv: ['true'] });
  next.discardOutput();
  await next.started();
  expect(await next.exited()).toMatchObject({ code: 0 });
  await state.inTurn(() => state.pause([]));
  expect([state.isPaused, isFrozen()]).toEqual([true, true]);
  await state.inTurn(() => state.resume());
  expect([state.isPaused, isFrozen()]).toEqual([false, false]);
});

test('a resume that was given up leaves a paused container', async () => {
  const { wire, state, isFrozen } = await container();
  await state.inTurn(() => state.pause([]));
  await givenUp(
    wire,
    () => state.inTurn(() => state.resume()),
    () => !isFrozen(),
  );
  expect(state.isPaused).toBe(true);
  wire.release();
  await expect.poll(isFrozen).toBe(true);
  await state.inTurn(() => state.resume());
  expect([state.isPaused, isFrozen()]).toEqual([false, false]);
});
