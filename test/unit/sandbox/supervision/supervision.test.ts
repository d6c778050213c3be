// What a supervisor does with its container while the container's machine is saved or replaced. The
// machine process is a small program that says it is on KVM, and the agent is this test.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  AGENT_PORT,
  encodeFrame,
  type Frame,
  HostFrameDecoder,
  PROTOCOL_VERSION,
} from '../../../../sandbox/agent/protocol.js';
import { SandboxError } from '../../../../sandbox/errors.js';
import { Home } from '../../../../sandbox/home/home.js';
import { portSocket } from '../../../../sandbox/home/socket-folder.js';
import type { HealthCheck } from '../../../../sandbox/spec/health.js';
import { Supervision } from '../../../../sandbox/supervision/supervision.js';
import { makeContainer } from '../home/containers.js';
import { BOOTED, scriptedMachine } from '../machine/scripted-machine.js';

/** Bytes, of which none are written. */
const MEMORY = 2 ** 26;
const SIGTERM = 15;

const CONFIG = {
  ...{ architecture: 'amd64', os: 'linux', created: '', Env: [], Entrypoint: [], Cmd: [], WorkingDir: '' },
  ...{ User: '', Labels: {}, StopSignal: '', ExposedPorts: [], Volumes: [] },
};

const HEALTH = {
  ...{ test: ['CMD', 'a'], argv: ['a'], interval: 1, timeout: 600_000 },
  ...{ startPeriod: 0, startInterval: 1, retries: 1 },
};

let folder: string;
let home: Home;
let supervision: Supervision | undefined;
let agents: Socket[];

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  writeFileSync(join(folder, 'kernel'), 'a kernel');
  home = new Home(join(folder, 'home'), join(folder, 'runtime'));
  agents = [];
});

afterEach(async () => {
  supervision?.abort(new SandboxError('aborted', 'the test is over'));
  await supervision?.exit.catch(() => {});
  supervision = undefined;
  for (const agent of agents) agent.destroy();
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

/**
 * Runs a container.
 * @param onSave what its machine process does when it is to be saved
 * @param isQuick of its agent
 */
async function started(onSave: string, health?: HealthCheck, isQuick = false) {
  const [requests, booted] = ['requests', 'booted'].map((name) => join(folder, name)) as [string, string];
  const machine = scriptedMachine(
    folder,
    `import { appendFileSync, writeFileSync } from 'node:fs';
     control.once('data', () => {
       ${BOOTED}
       setImmediate(() => writeFileSync(${JSON.stringify(booted)}, ''));
     });
     control.on('data', (text) => {
       appendFileSync(${JSON.stringify(requests)}, text);
       if (text.includes('"statistics"')) say({ type: 'statistics', statistics: { exits: {}, ioctls: {} } });
       if (text.includes('"save"')) { ${onSave} }
     });`,
  );
  const file = join(folder, 'kernel');
  const stored = await makeContainer(home, 'box', {
    ...({ kernel: file, memory: MEMORY, disk: 'memory', jail: 'off', cold: true } as const),
    network: { mode: 'none' },
  });
  const config = { ...stored.config()!, ...(health && { health }) };
  const image = { digest: config.image, config: CONFIG, disk: [{ path: file, offset: 0, length: 8 }] };
  supervision = new Supervision({ home, folder: stored, config, image }, { machine });
  supervision.exit.catch(() => {});
  // Its supervisor listens for the agent before it tells the machine to boot.
  await expect.poll(() => existsSync(booted)).toBe(true);
  const agent = new Agent(portSocket(stored.state().sockets!, AGENT_PORT), isQuick);
  await Promise.race([supervision.started, supervision.exit]);
  return { supervision, agent, stored, state: () => stored.state(), asked: () => readFileSync(requests, 'utf8') };
}

/** Does all that it is asked for, and ends the first process when this test says so. */
class Agent {
  readonly #socket: Socket;
  readonly #streams: Socket[] = [];
  readonly #path: string;
  /** Those that the process was sent. */
  readonly signals: number[] = [];
  /** The types of all frames that it got. */
  readonly got: string[] = [];
  /** What it fails to do. */
  refuses = '';
  #process = 0;
  #container = 0;

  /** @param isQuick if true, its further processes end before their streams arrive */
  constructor(path: string, isQuick: boolean) {
    this.#path = path;
    this.#socket = this.#connect({ type: 'hello', protocol: PROTOCOL_VERSION, agent: 'test', kernel: '6.1' });
    const decoder = new HostFrameDecoder();
    this.#socket.on('data', (bytes) => {
      for (const frame of decoder.push(bytes)) {
        this.got.push(frame.type);
        if (frame.type === 'process') {
          this.#process ||= frame.id;
          this.#container = frame.container;
          if (isQuick && frame.id !== this.#process) {
            this.#beQuick(frame);
            continue;
          }
          for (const stream of ['stdout', 'stderr'] as const) {
            this.#streams.push(this.#connect({ type: 'stream', process: frame.id, stream }));
          }
          this.#say({ type: 'started', request: frame.request, process: frame.id, pid: 2 });
        } else if (frame.type === 'signal') {
          if (frame.process === this.#process) this.signals.push(frame.signal);
          else this.#say({ type: 'exited', process: frame.process, container: this.#container, signal: frame.signal });
        } else if (frame.type === this.refuses) {
          this.#say({ type: 'error', request: frame.request, kind: 'setup-failed', message: 'no clock' });
        } else if ('request' in frame) this.#say({ type: 'done', request: frame.request });
      }
    });
  }

  #beQuick({ request, id: process, container }: Frame & { type: 'process' }): void {
    const frames: Frame[] = [
      { type: 'started', request, process, pid: 3 },
      { type: 'exited', process, container, code: 0 },
    ];
    this.#socket.write(Buffer.concat(frames.map(encodeFrame)), () => {
      for (const stream of ['stdout', 'stderr'] as const) {
        this.#connect({ type: 'stream', process, stream }).end(`${stream}\n`);
      }
    });
  }

  #connect(first: Frame): Socket {
    const socket = connect(this.#path);
    agents.push(socket);
    socket.on('error', () => {});
    socket.write(encodeFrame(first));
    return socket;
  }

  #say(frame: Frame): void {
    this.#socket.write(encodeFrame(frame));
  }

  /** The process ends by SIGKILL. */
  kill(): void {
    for (const stream of this.#streams) stream.end();
    this.#say({ type: 'exited', process: this.#process, container: this.#container, signal: 9 });
  }
}

test('a container is not paused while its machine is saved', async () => {
  const { supervision, state, asked } = await started('');
  const saved = supervision.snapshot({ machine: join(folder, 'saved'), layer: join(folder, 'layer') });
  saved.catch(() => {});
  await expect.poll(asked).toContain('"save"');
  expect(() => supervision.pause(true)).toThrow(
    expect.objectContaining({ code: 'conflict', message: expect.stringContaining('is being suspended, copied or') }),
  );
  expect(state().status).toBe('running');
});

test('a health check has ended before its machine is frozen, and the next one begins once that runs on', async () => {
  const { supervision, agent, state } = await started(
    "say({ type: 'saved', error: 'ENOSPC', isDiskFull: true });",
    HEALTH,
  );
  const checks = () => agent.got.filter((type) => type === 'process').length - 1;
  await expect.poll(checks).toBe(1);
  const saved = supervision.snapshot({ machine: join(folder, 'saved'), layer: join(folder, 'layer') });
  await expect(saved).rejects.toMatchObject({ code: 'no-space' });
  await expect.poll(checks).toBe(2);
  const { got } = agent;
  expect(got.slice(got.indexOf('signal'))).toEqual(['signal', 'freeze', 'thaw', 'process']);
  expect(state().health).toEqual({ status: 'starting', failingStreak: 0, log: [] });
});

test('a health check that ends before its streams arrive has its output, and does not wait for its timeout', async () => {
  const { state } = await started('', HEALTH, true);
  const last = () => state().health?.log.at(-1);
  await expect.poll(last).toMatchObject({ exitCode: 0, output: expect.stringMatching(/^std/) });
  expect(last()!.output.split('\n').sort()).toEqual(['', 'stderr', 'stdout']);
});

const saves = {
  'is suspended': ({ supervision }: Awaited<ReturnType<typeof started>>) => supervision.suspend(),
  'is copied': ({ supervision }: Awaited<ReturnType<typeof started>>) =>
    supervision.snapshot({ machine: join(folder, 'saved'), layer: join(folder, 'layer') }),
};

describe.each(Object.entries(saves))('a container that %s while the disk is full', (_, save) => {
  const ON_SAVE = "say({ type: 'saved', error: 'ENOSPC', isDiskFull: true });";
  const why = 'the machine cannot be saved: the disk is full';

  test('runs on', async () => {
    const it = await started(ON_SAVE);
    await expect(save(it)).rejects.toMatchObject({ code: 'no-space', message: why });
    expect(it.state().status).toBe('running');
    await expect.poll(it.asked).toContain('"resume"');
    expect(existsSync(it.stored.suspended)).toBe(false);
  });

  test('has ended if it cannot run on, and both is said', async () => {
    const it = await started(ON_SAVE);
    it.agent.refuses = 'thaw';
    const message = `${why}. Then the machine could not run on, and was ended: no clock`;
    await expect(save(it)).rejects.toMatchObject({ code: 'machine-died', message });
    await expect(it.supervision.exit).rejects.toMatchObject({ message: 'no clock' });
    expect(it.state()).toMatchObject({ status: 'exited', exitCode: 255 });
    expect(existsSync(it.stored.suspended)).toBe(false);
  });
});

/** A container that goes to a snapshot of it, once its machine has ended. */
async function rolling() {
  const it = await started("say({ type: 'saved' });");
  const files = { machine: join(folder, 'saved'), layer: join(folder, 'layer') };
  await it.supervision.snapshot(files);
  const rollback = it.supervision.rollback({ machine: files.machine });
  rollback.catch(() => {});
  await expect.poll(() => it.agent.signals).toEqual([9]);
  return { ...it, rollback };
}

const STOPPED = { code: 'aborted', message: 'stopped before it was rolled back' };

test('a container that is stopped before its machine has ended for a rollback has ended as that has', async () => {
  const { supervision, agent, state, rollback } = await rolling();
  supervision.stop(SIGTERM, 60_000);
  agent.kill();
  await expect(rollback).rejects.toMatchObject(STOPPED);
  expect(await supervision.exit).toMatchObject({ code: 137 });
  expect(state()).toMatchObject({ status: 'exited', exitCode: 137 });
  expect(state().error).toBeUndefined();
});

test('a container that is stopped on its way back to a snapshot keeps the exit code that it had', async () => {
  const { supervision, agent, state, rollback } = await rolling();
  // The next machine asks for its networks before it does anything else.
  const { networks } = home;
  const ofContainer = networks.ofContainer.bind(networks);
  vi.spyOn(networks, 'ofContainer').mockImplementation((...given) => {
    supervision.stop(SIGTERM, 60_000);
    return ofContainer(...given);
  });
  agent.kill();
  await expect(rollback).rejects.toMatchObject(STOPPED);
  await expect(supervision.exit).rejects.toMatchObject({ code: 'aborted' });
  expect(networks.ofContainer).toHaveBeenCalledOnce();
  expect(state()).toMatchObject({ status: 'exited', exitCode: 137 });
  expect(state().error).toBeUndefined();
});

test('a container whose process takes seconds to end has ended as that, and its machine was not killed', async () => {
  const { supervision, agent, state } = await started('');
  supervision.stop(SIGTERM, 0);
  await expect.poll(() => agent.signals).toEqual([9]);
  await sleep(3000);
  agent.kill();
  expect(await supervision.exit).toMatchObject({ code: 137, signal: 9 });
  expect(state()).toMatchObject({ status: 'exited', exitCode: 137 });
  expect(state().error).toBeUndefined();
});

test.each([
  ['is removed', true, 'no-such-container: no such container: ID'],
  ['has another supervisor', false, 'running: container ID is running already'],
])('a container that %s before it is supervised', async (_, isRemoved, refusal) => {
  const stored = await makeContainer(home, 'box');
  const config = stored.config()!;
  const lock = isRemoved ? stored.remove(home.runtime) : await stored.lock();
  const image = { digest: config.image, config: CONFIG, disk: [] };
  const error = await new Supervision({ home, folder: stored, config, image }).exit.catch((error) => error);
  lock?.[Symbol.dispose]();
  expect(`${error.code}: ${error.message}`.replace(stored.shortId, 'ID')).toBe(refusal);
});
