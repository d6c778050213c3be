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
  truncateSync,
  writeFileSync,
} from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { passDescriptors } from '../../libc/pass-descriptors.js';
import { descriptorOf, filesLine } from '../../sandbox/machine/control-channel.js';
import { MachineFiles } from '../../sandbox/machine/machine-files.js';
import { MachineOutside } from '../../sandbox/machine/outside.js';
import { bootUnjailed } from '../../sandbox/machine/unjailed.js';
import * as libc from '../../vmm/host/libc.js';
import { type MachineEvent, type MachineSpec, type ProbeResult, SAVED_MEMORY, SAVED_STATE } from '../../vmm/machine.js';
import { assembleKernel, bundle } from './guest.js';

let programs: URL;
const folder = mkdtempSync(join(tmpdir(), 'tsvm-process-'));
const initramfs = join(folder, 'initramfs');
const probe: ProbeResult = { usable: true, reason: 'for the test' };

beforeAll(async () => {
  programs = await bundle('process', { machine: 'vmm/process/main.ts', vcpu: 'vmm/accel/kvm/vcpu-worker.ts' }, 'cjs');
  writeFileSync(initramfs, 'unused');
});
afterAll(() => {
  rmSync(programs, { recursive: true, force: true });
  rmSync(folder, { recursive: true });
});

/** linux/prctl.h. Processes that start have it too. */
const PR_SET_THP_DISABLE = 41;

/** A machine process, and the events that it sends. */
class MachineClient {
  readonly child: ChildProcess;
  readonly control: Socket;
  readonly #events: AsyncIterator<string>;
  readonly exited: Promise<unknown[]>;
  /** What the owner has of it. */
  outside: MachineOutside | undefined;

  constructor(words: readonly string[]) {
    const program = new URL('machine.cjs', programs).pathname;
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
    if (done) throw new Error(`the machine process closed its control socket: ${await this.exited}`);
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
 * @param saved the files of a machine that was saved
 */
function boot(
  source: string,
  changes: Partial<MachineSpec> = {},
  { path, words, saved }: { path?: string; words?: readonly string[]; saved?: MachineFiles } = {},
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
  if (saved !== undefined) machine.outside.files.take(saved);
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
  // The room of the pages that are touched is told in pages of 4 KiB.
  libc.check(libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 'prctl');
  const machine = boot(`${PRINT}\n ${RESET}\n ${TEXT}`);
  libc.check(libc.prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 'prctl');
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

/** Writes the characters from 64 to 95 again and again, and keeps the count in memory. */
const COUNTER = `
    mov edx, 0x3f8
  again:
    mov al, [0x2000000]
    and al, 0x1f
    add al, 0x40
    out dx, al
    inc byte ptr [0x2000000]
    mov ecx, 100000
  wait:
    dec ecx
    jnz wait
    jmp again`;

/** The file of a saved machine's memory, and that of its state. */
class SavedFiles {
  readonly #memory = join(folder, `memory-${kernels}`);
  readonly #state = join(folder, `state-${kernels}`);

  constructor() {
    writeFileSync(this.#memory, '');
    truncateSync(this.#memory, 64 * 2 ** 20);
    writeFileSync(this.#state, '');
  }

  opened(flags: string): MachineFiles {
    const files = new MachineFiles();
    files.add(SAVED_MEMORY, openSync(this.#memory, flags));
    files.add(SAVED_STATE, openSync(this.#state, flags));
    return files;
  }

  change(change: (state: string) => string): void {
    writeFileSync(this.#state, change(readFileSync(this.#state, 'utf8')));
  }
}

/** Waits until the guest has written at least so many characters since it booted. */
async function written(machine: MachineClient, count: number): Promise<void> {
  for (;;) {
    machine.send({ type: 'statistics' });
    const event = await machine.event();
    if (event.type !== 'statistics') throw new Error(`the machine process said ${event.type}`);
    if ((event.statistics.exits.io ?? 0) >= count) return;
  }
}

/** Stops a machine. Returns the end of its console. */
async function consoleOf(machine: MachineClient): Promise<string> {
  machine.send({ type: 'shutdown' });
  const stopped = await machine.event();
  if (stopped.type !== 'stopped') throw new Error(`the machine process said ${stopped.type}`);
  return stopped.console ?? '';
}

/** True if each character follows the one before it. */
const isCounted = (text: string) =>
  [...text].every((each, at) => at === 0 || each.charCodeAt(0) === 64 + ((text.charCodeAt(at - 1) - 63) % 32));

async function save(machine: MachineClient, files: MachineFiles): Promise<MachineEvent> {
  for (const portion of files.all) {
    passDescriptors(descriptorOf(machine.control), portion.descriptors, Buffer.from(filesLine(portion)));
  }
  files[Symbol.dispose]();
  machine.send({ type: 'save' });
  return machine.event();
}

test('a machine is saved behind the filter, runs on, and continues in another process', async () => {
  const machine = boot(COUNTER);
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  while (filtersOf(machine.child.pid!)['2'] !== 1) await sleep(10);
  await written(machine, 10);
  const first = new SavedFiles();
  expect(await save(machine, first.opened('r+'))).toEqual({ type: 'saved' });
  machine.send({ type: 'resume' });
  await written(machine, 20);
  const second = new SavedFiles();
  expect(await save(machine, second.opened('r+'))).toEqual({ type: 'saved' });
  const before = await consoleOf(machine);
  expect(isCounted(before)).toBe(true);
  const restored = boot(COUNTER, { isSaved: true }, { saved: second.opened('r') });
  expect(await restored.event()).toMatchObject({ type: 'booted', accel: 'kvm' });
  await written(restored, 10);
  // It can be saved again.
  const third = new SavedFiles();
  expect(await save(restored, third.opened('r+'))).toEqual({ type: 'saved' });
  const after = await consoleOf(restored);
  expect(isCounted(before + after)).toBe(true);
  const again = boot(COUNTER, { isSaved: true }, { saved: third.opened('r') });
  expect(await again.event()).toMatchObject({ type: 'booted' });
  await written(again, 10);
  expect(isCounted(before + after + (await consoleOf(again)))).toBe(true);
});

test('a machine that cannot be saved runs on', async () => {
  const machine = boot(COUNTER);
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  const files = new MachineFiles();
  files.add(SAVED_MEMORY, openSync('/dev/full', 'r+'));
  files.add(SAVED_STATE, openSync('/dev/full', 'r+'));
  expect(await save(machine, files)).toMatchObject({ type: 'saved', error: expect.any(String) });
  const saved = new SavedFiles();
  const full = saved.opened('r+');
  full.add(SAVED_STATE, openSync('/dev/full', 'r+'));
  expect(await save(machine, full)).toEqual({
    type: 'saved',
    error: expect.stringContaining('ENOSPC'),
    isDiskFull: true,
  });
  await written(machine, 10);
  expect(isCounted(await consoleOf(machine))).toBe(true);
});

test('a saved state that is cut short is refused in one line', async () => {
  const machine = boot(COUNTER);
  expect(await machine.event()).toMatchObject({ type: 'booted' });
  const files = new SavedFiles();
  expect(await save(machine, files.opened('r+'))).toEqual({ type: 'saved' });
  await consoleOf(machine);
  files.change((state) => state.slice(0, -1));
  const restored = boot(COUNTER, { isSaved: true }, { saved: files.opened('r') });
  expect(await restored.event()).toMatchObject({
    type: 'failed',
    code: 'bad-snapshot',
    message: expect.stringMatching(/^the saved state is damaged: [^\n]*$/),
  });
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
