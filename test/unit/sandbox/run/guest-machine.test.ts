// A guest machine takes each call in its own state, says why it ended, and holds several
// containers. The machine process is a small program, and the agent is this test.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  type ContainerSetup,
  encodeFrame,
  type HelloFrame,
  type HostFrame,
  HostFrameDecoder,
  PROTOCOL_VERSION,
} from '../../../../sandbox/agent/protocol.js';
import { SILENT } from '../../../../sandbox/log.js';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';
import { MachineFiles } from '../../../../sandbox/machine/machine-files.js';
import { MachineOutside } from '../../../../sandbox/machine/outside.js';
import type { BootDeadline } from '../../../../sandbox/run/boot-timer.js';
import { GuestMachine } from '../../../../sandbox/run/guest-machine.js';
import { continued } from '../../../../sandbox/run/thaw.js';
import { Trace } from '../../../../sandbox/run/trace.js';
import type { MachineSpec } from '../../../../vmm/machine.js';

/** What is opened for a machine, whose process boots nothing. */
function opened(): MachineOutside {
  const file = join(folder, 'file');
  writeFileSync(file, 'a kernel');
  const spec: MachineSpec = {
    accel: 'auto',
    kernel: file,
    initramfs: file,
    commandLine: '',
    cpus: 1,
    memory: 2 ** 26,
    disks: [],
    shares: [],
    vsock: { guestCid: 3, path: join(folder, 'vsock') },
    console: false,
    logLevel: 'warn',
  };
  return new MachineOutside(spec, [], { jail: 'off' });
}

const container = (id: number): ContainerSetup => ({ id, hostname: 'box', root: { device: '/dev/vda' } });

let folder: string;
let agentSocket: string;
let machine: GuestMachine;
let agent: Socket | undefined;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  agentSocket = join(folder, 'agent');
  machine = guestMachine('');
});

afterEach(() => {
  machine[Symbol.dispose]();
  agent?.destroy();
  rmSync(folder, { recursive: true });
});

/**
 * A machine whose process runs `script`, in which `control` and `say` are its end of the control
 * socket.
 */
function guestMachine(script: string, bootDeadline?: BootDeadline): GuestMachine {
  const program = join(folder, `${Math.random()}.mjs`);
  writeFileSync(
    program,
    `import { Socket } from 'node:net';
     const control = new Socket({ fd: 3 });
     const say = (event) => control.write(JSON.stringify(event) + '\\n');
     control.on('data', () => {});
     ${script}`,
  );
  return new GuestMachine(new MachineClient({ program, jail: 'off' }), {
    ...{ trace: new Trace(), log: SILENT },
    ...(bootDeadline !== undefined && { bootDeadline }),
  });
}

/** Boots the machine and says hello to it; what it asks its agent for. */
async function ready(): Promise<() => Promise<HostFrame[]>> {
  await machine.listen(agentSocket);
  machine.boot(opened(), () => {});
  const socket = connect(agentSocket);
  agent = socket;
  socket.write(encodeFrame({ type: 'hello', protocol: PROTOCOL_VERSION, agent: 'test', kernel: '6.1' }));
  expect(await machine.hello()).toBe('6.1');
  const decoder = new HostFrameDecoder();
  return async () => {
    const [chunk] = await once(socket, 'data');
    return decoder.push(chunk);
  };
}

const answer = (frame: Parameters<typeof encodeFrame>[0]) => agent?.write(encodeFrame(frame));

test('its state follows its life', async () => {
  expect(machine.state.name).toBe('spawned');
  await machine.listen(agentSocket);
  expect(machine.state.name).toBe('listening');
  machine.boot(opened(), () => {});
  expect(machine.state.name).toBe('booting');
  machine[Symbol.dispose]();
  expect(machine.state).toMatchObject({ name: 'stopped', error: { code: 'not-running' } });
  await expect(machine.lost).rejects.toMatchObject({ code: 'not-running' });
});

describe('a call that its state does not take is an error with a code', () => {
  test.each<[string, () => unknown]>([
    ['boot before listen', () => machine.boot(opened(), () => {})],
    ['hello before boot', () => machine.hello()],
    ['a container before hello', () => machine.createContainer(container(1))],
    ['shutdown before hello', () => machine.shutdown(60_000)],
  ])('%s', async (_, call) => {
    await expect((async () => call())()).rejects.toMatchObject({ code: 'wrong-state' });
  });

  test('listen twice', async () => {
    await machine.listen(agentSocket);
    await expect(machine.listen(agentSocket)).rejects.toMatchObject({ code: 'wrong-state' });
  });

  test('anything after its end throws the reason of that', async () => {
    machine[Symbol.dispose]();
    expect(() => machine.createContainer(container(1))).toThrow('the machine was stopped');
  });
});

test('two containers live in one machine, each with processes of its own', async () => {
  const requests = await ready();
  const first = machine.createContainer(container(1)).start({ id: 11, argv: ['a'] });
  const second = machine.createContainer(container(2)).start({ id: 22, argv: ['b'] });
  const frames: HostFrame[] = [];
  while (frames.length < 4) frames.push(...(await requests()));
  expect(frames.map(({ type }) => type)).toEqual(['container', 'process', 'container', 'process']);
  expect(frames.filter((frame) => frame.type === 'process')).toMatchObject([
    { container: 1, id: 11 },
    { container: 2, id: 22 },
  ]);
  for (const frame of frames) {
    if (!('request' in frame)) continue;
    const { request } = frame;
    if (frame.type === 'process') answer({ type: 'started', request, process: frame.id, pid: frame.id + 1 });
    else answer({ type: 'done', request });
  }
  expect(await Promise.all([first.started(), second.started()])).toEqual([12, 23]);
  answer({ type: 'exited', process: 22, container: 2, code: 3 });
  expect(await second.exited()).toMatchObject({ code: 3 });
  expect(machine.state.name).toBe('ready');
});

describe('when its process dies', () => {
  const DIE = "{ process.stderr.write('RangeError: too far\\n'); process.exit(1); }";

  test('what waits for hello is told why', async () => {
    machine[Symbol.dispose]();
    machine = guestMachine(`control.once('data', () => ${DIE});`);
    await machine.listen(agentSocket);
    machine.boot(opened(), () => {});
    await expect(machine.hello()).rejects.toMatchObject({ code: 'machine-died' });
    expect(machine.state).toMatchObject({ name: 'stopped', error: { message: /too far/ } });
  });

  test('its reason is told, not that the agent fell silent before', async () => {
    machine[Symbol.dispose]();
    machine = guestMachine(`process.on('SIGTERM', () => ${DIE});`);
    await ready();
    agent?.destroy();
    process.kill(machine.pid!, 'SIGTERM');
    await expect(machine.lost).rejects.toMatchObject({ code: 'machine-died' });
  });
});

describe('the deadline of its boot', () => {
  /** A processor that this process may use. */
  const cpu = /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  /** Computes for a while once it is to boot, then says hello. It rarely asks for its time, which may take longer. */
  const compute = (milliseconds: number) => `
    import { connect } from 'node:net';
    control.once('data', () => {
      const before = process.cpuUsage().user;
      while (process.cpuUsage().user - before < ${milliseconds * 1000}) for (let i = 0; i < 1e6; i++);
      const hello = ${JSON.stringify(
        encodeFrame({ type: 'hello', protocol: PROTOCOL_VERSION, agent: 'test', kernel: '6.1' }).toString('hex'),
      )};
      connect(${JSON.stringify(agentSocket)}).write(Buffer.from(hello, 'hex'));
    });`;

  async function boot(script: string, deadline: BootDeadline): Promise<string> {
    machine[Symbol.dispose]();
    machine = guestMachine(script, deadline);
    execFileSync('taskset', ['-acp', cpu, String(machine.pid)], { stdio: 'ignore' });
    await machine.listen(agentSocket);
    machine.boot(opened(), () => {});
    return machine.hello();
  }

  /** Calls `act` while eight programs keep the machine's processor busy, each in a session of its own. */
  async function onBusyHost<T>(act: () => Promise<T>): Promise<T> {
    const others = Array.from({ length: 8 }, () =>
      spawn('taskset', ['-c', cpu, process.execPath, '-e', 'for (;;);'], { detached: true, stdio: 'ignore' }),
    );
    try {
      return await act();
    } finally {
      for (const other of others) other.kill('SIGKILL');
    }
  }

  test.each([
    ['waits', ''],
    ['computes', 'for (;;);'],
  ])('ends a guest that hangs and %s', async (_, script) => {
    await expect(boot(script, { own: 1000, all: 60_000 })).rejects.toMatchObject({ code: 'boot-timeout' });
  });

  test('does not pass while other programs have its processor', async () => {
    // With a ninth of a processor, 700 ms of computing take far more than the deadline.
    const kernel = await onBusyHost(() => boot(compute(700), { own: 2000, all: 100_000 }));
    expect(kernel).toBe('6.1');
  });

  test('passes in the end, however busy the host is', async () => {
    const late = onBusyHost(() => boot(compute(60_000), { own: 60_000, all: 2000 }));
    await expect(late).rejects.toMatchObject({ code: 'boot-timeout', message: /did not start in \d+ s/ });
  });
});

test('a shutdown asks the agent, and waits for the end of the machine', async () => {
  machine[Symbol.dispose]();
  const down = join(folder, 'down');
  machine = guestMachine(`
    import { existsSync } from 'node:fs';
    const look = setInterval(() => {
      if (!existsSync('${down}')) return;
      clearInterval(look);
      say({ type: 'stopped', reason: 'shutdown' });
      control.end();
    }, 10);`);
  const requests = await ready();
  let isDown = false;
  const shutdown = machine.shutdown(60_000).then(() => {
    isDown = true;
  });
  expect(await requests()).toMatchObject([{ type: 'shutdown' }]);
  expect(isDown).toBe(false);
  writeFileSync(down, '');
  await shutdown;
  expect(machine.state.name).toBe('stopped');
});

test('the end of a machine waits some seconds for a process that does not go', async () => {
  machine[Symbol.dispose]();
  const heir = join(folder, 'heir');
  // What has the socket stands for it.
  machine = guestMachine(`
    import { spawn } from 'node:child_process';
    import { renameSync, writeFileSync } from 'node:fs';
    const { pid } = spawn('sleep', ['1000'], { detached: true, stdio: ['ignore', 'ignore', 'ignore', 3] });
    writeFileSync('${heir}.new', String(pid));
    renameSync('${heir}.new', '${heir}');`);
  await expect.poll(() => existsSync(heir)).toBe(true);
  const pid = Number(readFileSync(heir, 'utf8'));
  onTestFinished(() => void process.kill(pid, 'SIGKILL'));
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const ended = machine.end().then(() => 'ended');
  await vi.advanceTimersByTimeAsync(10_000);
  expect(await ended).toBe('ended');
});

describe('a machine that is frozen', () => {
  test('is ready again when it is thawed, and takes no container before', async () => {
    const asked = await ready();
    const frozen = machine.freeze();
    expect(machine.state.name).toBe('frozen');
    expect(() => machine.createContainer(container(1))).toThrow(expect.objectContaining({ code: 'wrong-state' }));
    const [freeze] = await asked();
    expect(freeze).toMatchObject({ type: 'freeze' });
    answer({ type: 'done', request: freeze!.request });
    await frozen;
    const thawed = machine.thaw({});
    const [thaw] = await asked();
    expect(thaw).toEqual({ type: 'thaw', request: thaw!.request });
    answer({ type: 'done', request: thaw!.request });
    await thawed;
    expect(machine.state.name).toBe('ready');
  });

  test('is ready if it refuses to freeze', async () => {
    const asked = await ready();
    const frozen = machine.freeze();
    frozen.catch(() => {});
    const [freeze] = await asked();
    answer({ type: 'error', request: freeze!.request, kind: 'bad-request', message: 'a tool runs' });
    await expect(frozen).rejects.toMatchObject({ code: 'agent', message: 'a tool runs' });
    expect(machine.state.name).toBe('ready');
  });

  test('is stopped, with its process, if a step of the thaw fails', async () => {
    const asked = await ready();
    const frozen = machine.freeze();
    answer({ type: 'done', request: (await asked())[0]!.request });
    await frozen;
    const thawed = machine.thaw(continued());
    thawed.catch(() => {});
    answer({ type: 'error', request: (await asked())[0]!.request, kind: 'setup-failed', message: 'reseed' });
    await expect(thawed).rejects.toMatchObject({ code: 'agent', message: 'reseed' });
    expect(machine.state).toMatchObject({ name: 'stopped', error: { message: 'reseed' } });
    await machine.gone;
  });

  test.each([
    ['saved', "say({ type: 'saved' });", 'no error'],
    ['not saved, for a reason', "say({ type: 'saved', error: 'EIO' });", 'snapshot: the machine cannot be saved: EIO'],
    [
      'not saved to a full disk',
      "say({ type: 'saved', error: 'pwritev: ENOSPC', isDiskFull: true });",
      'no-space: the machine cannot be saved: the disk is full',
    ],
    [
      'never answered',
      '',
      "unresponsive: the machine was not saved in 1 s: the host's disk is slow, or stop or kill the container to end it",
    ],
    ['lost meanwhile', 'process.exit(1);', 'machine-died: the machine process died (exit code 1)'],
  ])('is %s, while it is frozen', async (_, script, message) => {
    const requests = join(folder, 'requests');
    machine = guestMachine(`
      import { appendFileSync } from 'node:fs';
      control.on('data', (line) => {
        appendFileSync(${JSON.stringify(requests)}, line);
        if (line.includes('"save"')) { ${script} }
      });`);
    const asked = await ready();
    const frozen = machine.freeze();
    answer({ type: 'done', request: (await asked())[0]!.request });
    await frozen;
    const files = new MachineFiles();
    const result = await machine.save(files, script === '' ? 1000 : 100_000).then(
      () => 'no error',
      (error) => `${error.code}: ${error.message}`,
    );
    expect(result).toBe(message);
    if (script.includes('exit')) return;
    const runsOn = machine.runOn();
    answer({ type: 'done', request: (await asked())[0]!.request });
    await runsOn;
    expect(machine.state.name).toBe('ready');
    await expect.poll(() => readFileSync(requests, 'utf8')).toContain('{"type":"resume"}');
  });

  test.each([
    ['', undefined],
    ['the disk is full. Then ', new Error('the disk is full')],
  ])('is ended if it cannot run on, and that is said: %s', async (before, failure) => {
    const asked = await ready();
    const frozen = machine.freeze();
    answer({ type: 'done', request: (await asked())[0]!.request });
    await frozen;
    const runsOn = machine.runOn(failure);
    runsOn.catch(() => {});
    answer({ type: 'error', request: (await asked())[0]!.request, kind: 'setup-failed', message: 'no clock' });
    const message = `${before}the machine could not run on, and was ended: no clock`;
    await expect(runsOn).rejects.toMatchObject({ code: 'machine-died', message });
    await machine.gone;
    // The next one hears what ended it.
    await expect(machine.runOn(failure)).rejects.toMatchObject({ code: 'agent', message: 'no clock' });
  });

  test('was restored if its hello says so: what runs is adopted', async () => {
    await machine.listen(agentSocket);
    machine.boot(opened(), () => {});
    const socket = connect(agentSocket);
    agent = socket;
    const hello = {
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      agent: 'test',
      kernel: '6.1',
      frozen: true,
      processes: 1,
    };
    socket.write(encodeFrame(hello as HelloFrame));
    await machine.hello();
    expect(machine.state.name).toBe('frozen');
    answer({ type: 'running', process: 7, container: 1, pid: 42 });
    const [running] = await machine.running();
    const process = machine.container(running!.container).adopt({ id: 7, argv: ['cat'] }, running!.pid);
    expect(await process.started()).toBe(42);
    answer({ type: 'exited', process: 7, container: 1, code: 0 });
    expect(await process.exited()).toMatchObject({ code: 0 });
  });
});
