// The machine process as its owner sees it, with kernels of a few instructions. The tests write the
// result of the KVM probe themselves: such kernels run where a stock kernel does not.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { MachineOutside } from '../../sandbox/machine/outside.js';
import { bootUnjailed } from '../../sandbox/machine/unjailed.js';
import type { MachineEvent, MachineSpec, ProbeResult } from '../../vmm/machine.js';
import { assembleKernel, bundle } from './guest.js';

let programs: URL;
const folder = mkdtempSync(join(tmpdir(), 'tsvm-process-'));
const initramfs = join(folder, 'initramfs');
const probe: ProbeResult = { usable: true, reason: 'for the test' };

beforeAll(async () => {
  programs = await bundle('process', { machine: 'vmm/process/main.ts', vcpu: 'vmm/accel/kvm/vcpu-worker.ts' });
  writeFileSync(initramfs, 'unused');
});
afterAll(() => {
  rmSync(programs, { recursive: true, force: true });
  rmSync(folder, { recursive: true });
});

/** A machine process, and the events that it sends. */
class MachineClient {
  readonly child: ChildProcess;
  readonly control: Socket;
  readonly #events: AsyncIterator<string>;
  readonly exited: Promise<unknown[]>;
  /** What the owner has of it. */
  outside: MachineOutside | undefined;

  constructor(words: readonly string[]) {
    const program = new URL('machine.js', programs).pathname;
    const kvm = openSync('/dev/kvm', 'r+');
    this.child = spawn(process.execPath, [program, ...words], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', kvm],
    });
    closeSync(kvm);
    this.control = this.child.stdio[3] as Socket;
    this.exited = once(this.child, 'exit');
    this.#events = createInterface({ input: this.control })[Symbol.asyncIterator]();
  }

  send(request: object): void {
    this.control.write(`${JSON.stringify(request)}\n`);
  }

  async event(): Promise<MachineEvent> {
    const { value, done } = await this.#events.next();
    if (done) throw new Error('the machine process closed its control socket');
    return JSON.parse(value);
  }
}

const running: MachineClient[] = [];
function start(words: readonly string[] = []): MachineClient {
  const machine = new MachineClient(words);
  running.push(machine);
  return machine;
}
afterEach(() => {
  for (const { child, outside } of running.splice(0)) {
    child.kill('SIGKILL');
    outside?.[Symbol.dispose]();
  }
});

let kernels = 0;
/**
 * Boots a kernel of assembly, with `changes` to its specification.
 * @param path PATH of the owner
 * @param words arguments of the machine's program (vmm/process/main.ts)
 */
function boot(
  source: string,
  changes: Partial<MachineSpec> = {},
  { path, words }: { path?: string; words?: readonly string[] } = {},
): MachineClient {
  const kernel = join(folder, `kernel-${kernels++}`);
  writeFileSync(kernel, assembleKernel(source));
  const spec: MachineSpec = {
    accel: 'auto',
    kernel,
    initramfs,
    commandLine: '',
    cpus: 1,
    memory: 64 * 2 ** 20,
    disks: [],
    vsock: { guestCid: 3, path: join(folder, `vsock-${kernels}`) },
    console: false,
    probe,
    logLevel: 'silent',
    ...changes,
  };
  const machine = start(words);
  if (path !== undefined) vi.stubEnv('PATH', path);
  machine.outside = new MachineOutside(spec, [], { jail: 'off' });
  vi.unstubAllEnvs();
  bootUnjailed(machine.control, machine.outside);
  return machine;
}

const PRINT = `
    lea rsi, [rip + text]
    mov ecx, 12
    mov edx, 0x3f8
    rep outsb`;
const TEXT = 'text: .ascii "Kernel panic"';
const RESET = 'mov al, 0xfe\n out 0x64, al\n stay: jmp stay';
const TRIPLE_FAULT = 'mov rax, [0x7fffffffffff]';
const CRASHED = { type: 'failed', code: 'guest-crash', message: expect.stringMatching(/triple fault/) };
const SPIN = 'stay: jmp stay';

test('a kernel runs until it resets the machine, and the end of its console is reported', async () => {
  const machine = boot(`${PRINT}\n ${RESET}\n ${TEXT}`);
  const booted = await machine.event();
  expect(booted).toMatchObject({ type: 'booted', accel: 'kvm' });
  const times = booted.type === 'booted' ? booted.times : undefined;
  expect(times?.processStarted).toBeLessThanOrEqual(times?.specReceived ?? 0);
  expect(times?.specReceived).toBeLessThanOrEqual(times?.vcpusStarted ?? 0);
  const stopped = await machine.event();
  expect(stopped).toMatchObject({ type: 'stopped', reason: 'reset', console: 'Kernel panic' });
  expect(stopped).toMatchObject({ statistics: { exits: { io: expect.any(Number) }, ioctls: { KVM_CREATE_VM: 1 } } });
  const resident = stopped.type === 'stopped' ? stopped.statistics.memory?.resident : undefined;
  expect(resident).toBeGreaterThan(0);
  expect(resident).toBeLessThan(2 ** 20);
  expect(await machine.exited).toEqual([0, null]);
});

test('a shutdown stops a guest that spins', async () => {
  const machine = boot(SPIN, { cpus: 3 });
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  machine.send({ type: 'shutdown' });
  expect(await machine.event()).toMatchObject({ type: 'stopped', reason: 'shutdown' });
  expect(await machine.exited).toEqual([0, null]);
});

/** `Seccomp_filters` of each thread of a process, by number of filters. */
function filtersOf(pid: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1');
    const [, count = '?'] = /^Seccomp_filters:\t(\d+)$/m.exec(status) ?? [];
    counts[count] = (counts[count] ?? 0) + 1;
  }
  return counts;
}

test('all threads have a filter of system calls, and those of vCPUs two', async () => {
  const machine = boot(SPIN, { cpus: 2 });
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  const pid = machine.child.pid!;
  // The threads take the filters while the guest runs already.
  while (filtersOf(pid)['2'] !== 2) await sleep(10);
  expect(Object.keys(filtersOf(pid)).sort()).toEqual(['1', '2']);
  machine.send({ type: 'statistics' });
  expect(await machine.event()).toMatchObject({
    type: 'statistics',
    statistics: { exits: { intr: expect.any(Number) } },
  });
  machine.send({ type: 'shutdown' });
  expect(await machine.event()).toMatchObject({ type: 'stopped', reason: 'shutdown' });
  expect(await machine.exited).toEqual([0, null]);
});

test('a machine does not outlive its owner', async () => {
  const machine = boot(SPIN);
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  machine.control.destroy();
  expect(await machine.exited).toEqual([0, null]);
});

test('a process ends when its owner leaves before the first request', async () => {
  const machine = start();
  machine.control.end();
  expect(await machine.exited).toEqual([0, null]);
});

test('a line that is not JSON ends the process', async () => {
  const machine = start();
  machine.control.write('hello\n');
  expect(await machine.exited).toEqual([0, null]);
});

test('a triple fault is a crash of the guest', async () => {
  const machine = boot(TRIPLE_FAULT);
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  expect(await machine.event()).toMatchObject(CRASHED);
  expect(await machine.exited).toEqual([1, null]);
});

test('a kernel file that is not a kernel is refused', async () => {
  const machine = boot(SPIN, { kernel: initramfs });
  expect(await machine.event()).toMatchObject({ type: 'failed', code: 'bad-kernel' });
});

test('a second boot is refused', async () => {
  const machine = boot(SPIN);
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  machine.send({ type: 'boot', spec: {} });
  expect(await machine.event()).toMatchObject({ type: 'failed', code: 'bad-state' });
});

test('a probe reports its result and ends the process', async () => {
  const machine = start();
  machine.send({ type: 'probe' });
  const probed = await machine.event();
  expect(probed).toMatchObject({ type: 'probed', result: { usable: expect.any(Boolean), reason: expect.any(String) } });
  expect(await machine.exited).toEqual([0, null]);
});

test.each([true, false])(
  'a KVM that cannot be opened is reported as that, if an earlier probe found %s',
  async (usable) => {
    const machine = boot(SPIN, { accel: 'kvm', probe: { usable, reason: 'earlier' } }, { words: ['-13'] });
    expect(await machine.event()).toMatchObject({
      type: 'failed',
      code: 'kvm-permission',
      message: expect.stringContaining('/dev/kvm'),
    });
  },
);

describe('on an emulated CPU', () => {
  const accel = 'tcg';

  /** Returns the process id of the machine's QEMU. */
  const qemuOf = ({ outside }: MachineClient) => outside?.companion?.pid ?? Number.NaN;

  /**
   * Waits until a process that is not a child of this one has ended. Its zombie may wait for a new
   * parent.
   */
  const ended = async (pid: number) => {
    const isRunning = () =>
      existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    while (isRunning()) await sleep(20);
  };

  test('a kernel runs until it resets the machine, and the end of its console is reported', async () => {
    const machine = boot(`${PRINT}\n ${RESET}\n ${TEXT}`, { accel });
    expect(await machine.event()).toMatchObject({ type: 'booted', accel });
    expect(await machine.event()).toMatchObject({ type: 'stopped', reason: 'reset', console: 'Kernel panic' });
    expect(await machine.exited).toEqual([0, null]);
  });

  test('a triple fault is a crash of the guest', async () => {
    const machine = boot(TRIPLE_FAULT, { accel });
    expect(await machine.event()).toMatchObject({ type: 'booted', accel });
    expect(await machine.event()).toMatchObject(CRASHED);
    expect(await machine.exited).toEqual([1, null]);
  });

  test('it is chosen if KVM is unusable, and the reason is reported', async () => {
    const machine = boot(SPIN, { probe: { usable: false, reason: 'too slow' } });
    expect(await machine.event()).toMatchObject({ type: 'booted', accel, reason: 'too slow' });
  });

  test('a shutdown stops the machine', async () => {
    const machine = boot(SPIN, { accel, cpus: 2 });
    expect(await machine.event()).toMatchObject({ type: 'booted' });
    machine.send({ type: 'shutdown' });
    expect(await machine.event()).toMatchObject({ type: 'stopped', reason: 'shutdown' });
    expect(await machine.exited).toEqual([0, null]);
  });

  test('QEMU ends when the machine process is killed', async () => {
    const machine = boot(SPIN, { accel });
    expect(await machine.event()).toMatchObject({ type: 'booted' });
    const qemu = qemuOf(machine);
    machine.child.kill('SIGKILL');
    await ended(qemu);
  });

  test('the death of QEMU is reported in one line', async () => {
    const machine = boot(SPIN, { accel });
    expect(await machine.event()).toMatchObject({ type: 'booted' });
    process.kill(qemuOf(machine), 'SIGKILL');
    expect(await machine.event()).toMatchObject({ type: 'failed', code: 'host', message: 'QEMU ended (signal 9)' });
    expect(await machine.exited).toEqual([1, null]);
  });

  test('without QEMU, the error names its package', async () => {
    const machine = boot(SPIN, { accel }, { path: folder });
    expect(await machine.event()).toMatchObject({
      code: 'no-accelerator',
      message: expect.stringMatching(/apt-get install qemu-system-x86/),
    });
  });

  test('more devices than QEMU has transports are refused', async () => {
    const path = join(folder, 'disk');
    writeFileSync(path, Buffer.alloc(512));
    const extents = [{ path, offset: 0, length: 512 }];
    const disks = Array.from({ length: 6 }, (_, index) => ({ id: `${index}`, readOnly: true, extents }));
    const machine = boot(SPIN, { accel, disks });
    expect(await machine.event()).toMatchObject({
      code: 'bad-spec',
      message: expect.stringMatching(/at most 8 devices, not 9/),
    });
  });
});
