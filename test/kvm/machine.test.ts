// The life of a machine, which is the same for each kind: what each call does, and which calls each
// state forbids.

import { ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../errors/index.js';
import { MachineOutside } from '../../sandbox/machine/outside.js';
import { createMachine } from '../../vmm/accel/create.js';
import type { Saved } from '../../vmm/accel/kvm/machine.js';
import { MachineShared } from '../../vmm/accel/kvm/vcpu-shared.js';
import type { Machine } from '../../vmm/accel/machine.js';
import type { SavedMachine } from '../../vmm/accel/saved-machine.js';
import { EventLoop } from '../../vmm/host/event-loop.js';
import { GivenFiles, type HostFiles, OWN_FILES } from '../../vmm/host/files.js';
import * as libc from '../../vmm/host/libc.js';
import { createLogger } from '../../vmm/host/log.js';
import { Kvm } from '../../vmm/kvm/kvm.js';
import type { Accelerator, MachineError, MachineSpec } from '../../vmm/machine.js';
import { assembleKernel, bundle } from './guest.js';

/** Writes to the serial port without end. */
const CHATTER = 'mov edx, 0x3f8\n mov al, 0x61\n again: out dx, al\n jmp again';
const TRIPLE_FAULT = 'mov rax, [0x7fffffffffff]';
const RESET = 'mov al, 0xfe\n out 0x64, al\n stay: jmp stay';

let programs: URL;
const folder = mkdtempSync(join(tmpdir(), 'tsvm-machine-'));
beforeAll(async () => {
  programs = await bundle('machine', { vcpu: 'vmm/accel/kvm/vcpu-worker.ts' }, 'cjs');
  writeFileSync(join(folder, 'initramfs'), 'unused');
});
afterAll(() => {
  rmSync(programs, { recursive: true, force: true });
  rmSync(folder, { recursive: true });
});

let machines = 0;

/** A machine in this process, and the events that it reported. */
class TestedMachine implements Disposable {
  readonly loop = new EventLoop();
  readonly kvm = Kvm.open();
  readonly machine: Machine;
  readonly events: string[] = [];
  error: MachineError | undefined;
  /** What the guest wrote to its console. */
  readonly console: number[] = [];

  readonly #outside: MachineOutside | undefined;

  constructor(accel: Accelerator, source: string, saved?: Saved) {
    const name = join(folder, String(machines++));
    writeFileSync(`${name}.kernel`, assembleKernel(source));
    const spec: MachineSpec = {
      accel,
      kernel: `${name}.kernel`,
      initramfs: join(folder, 'initramfs'),
      commandLine: '',
      cpus: 1,
      memory: 64 * 2 ** 20,
      disks: [],
      vsock: { guestCid: 3, path: `${name}.vsock` },
      console: false,
      logLevel: 'silent',
    };
    const { loop, kvm } = this;
    let files: HostFiles = OWN_FILES;
    if (accel === 'tcg') {
      this.#outside = new MachineOutside(spec, [], { jail: 'off' });
      files = givenBy(this.#outside);
      this.#outside.companion?.ended.then((end) => this.machine.companionEnded(end));
    }
    const unexpected = () => {
      throw new Error('this machine has no network');
    };
    this.machine = createMachine({
      spec,
      shares: [],
      accel,
      reserve: { kvm, workerUrl: new URL('vcpu.cjs', programs), shared: new MachineShared(), started: [] },
      context: {
        files,
        loop,
        log: createLogger('silent'),
        writeConsole: (bytes) => {
          this.console.push(...bytes);
        },
        onStart: () => this.events.push('start'),
        onReset: () => this.events.push('reset'),
        onCrash: (error) => {
          this.events.push('crash');
          this.error = error;
        },
      },
      network: {
        loop,
        routeSocket: unexpected,
        tap: unexpected,
        published: unexpected,
        sockets: { connect: unexpected, arrivals: unexpected },
        networks: { enter: unexpected, leave: unexpected },
        onNetworkUp: unexpected,
        onRefusal: unexpected,
      },
      ...(saved === undefined ? {} : { saved }),
    }).machine;
  }

  /** Number of bytes that the guest wrote to its console. */
  get written(): number {
    return this.console.length;
  }

  /** Serves the machine until `condition` holds, and lets this process see the end of QEMU. */
  async serveUntil(condition: () => boolean): Promise<void> {
    while (!condition()) {
      this.loop.poll(10);
      await new Promise(setImmediate);
    }
  }

  /** Serves the machine until the guest has written more. */
  async serveOutput(): Promise<void> {
    const before = this.written;
    await this.serveUntil(() => this.written > before);
  }

  [Symbol.dispose](): void {
    this.#outside?.[Symbol.dispose]();
    this.machine[Symbol.dispose]();
    this.kvm[Symbol.dispose]();
    this.loop[Symbol.dispose]();
  }
}

/** What the owner would send to a machine process. */
function givenBy({ files }: MachineOutside): HostFiles {
  const given = new GivenFiles(() => expect.unreachable());
  for (const { names, descriptors } of files.all) {
    given.add(
      names,
      descriptors.map((fd) => libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0), 'fcntl')),
    );
  }
  // QEMU runs while the machine has the pipe for that.
  files[Symbol.dispose]();
  return given;
}

/** Returns the code and the message of the error that a call throws. */
function refusal(call: () => void): string {
  try {
    call();
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error)}`;
  }
  return 'no error';
}

describe.each(['kvm', 'tcg'] as const)('a machine on %s', (accel) => {
  test('starts and stops', async () => {
    using tested = new TestedMachine(accel, CHATTER);
    const { machine, events } = tested;
    expect(machine.state).toEqual({ name: 'built' });
    machine.start();
    expect(machine.state).toEqual({ name: 'starting' });
    await tested.serveOutput();
    expect(events).toEqual(['start']);
    expect(machine.state).toEqual({ name: 'running', startTime: expect.any(Number) });
    expect(machine.statistics().memory?.resident).toBeGreaterThan(0);
    machine.stop();
    expect(machine.state).toEqual({ name: 'stopped' });
  });

  test('refuses calls that do not fit its state', async () => {
    using tested = new TestedMachine(accel, CHATTER);
    const { machine } = tested;
    const byOwner = 'unsupported: an emulated machine is paused by its owner';
    expect(refusal(() => machine.pause())).toBe(
      accel === 'kvm' ? 'bad-state: cannot pause the machine: it is built, not running' : byOwner,
    );
    machine.start();
    expect(refusal(() => machine.start())).toBe('bad-state: cannot start the machine: it is starting, not built');
    await tested.serveOutput();
    expect(refusal(() => machine.resume())).toBe(
      accel === 'kvm' ? 'bad-state: cannot resume the machine: it is running, not paused' : byOwner,
    );
    machine.stop();
    expect(refusal(() => machine.start())).toBe('bad-state: cannot start the machine: it is stopped, not built');
  });

  test('reports a reset', async () => {
    using tested = new TestedMachine(accel, RESET);
    tested.machine.start();
    await tested.serveUntil(() => tested.events.includes('reset'));
    expect(tested.events).toEqual(['start', 'reset']);
  });

  test('reports a crash and keeps its reason', async () => {
    using tested = new TestedMachine(accel, TRIPLE_FAULT);
    const { machine } = tested;
    machine.start();
    await tested.serveUntil(() => tested.error !== undefined);
    expect(tested.events).toEqual(['start', 'crash']);
    expect(machine.state).toEqual({ name: 'crashed', error: tested.error });
    if (accel === 'tcg') return;
    expect(refusal(() => machine.pause())).toMatch(
      /^bad-state: cannot pause the machine: it has crashed \(.*triple fault/,
    );
  });
});

test('a machine on KVM does not run while it is paused, and runs again when it is resumed', async () => {
  using tested = new TestedMachine('kvm', CHATTER);
  const { machine } = tested;
  machine.start();
  await tested.serveOutput();
  const { state } = machine;
  machine.pause();
  expect(machine.state).toEqual({ ...state, name: 'paused' });
  // Output from before the pause may still be in the pipe.
  while (tested.loop.poll(50) > 0);
  const paused = tested.written;
  tested.loop.poll(100);
  expect(tested.written).toBe(paused);
  machine.resume();
  expect(machine.state).toEqual(state);
  // The guest's clock is told that it stood.
  expect(machine.statistics().ioctls.KVM_KVMCLOCK_CTRL).toBe(1);
  await tested.serveOutput();
});

test('a machine on KVM can be stopped while it is paused, and stopped twice', async () => {
  using tested = new TestedMachine('kvm', CHATTER);
  tested.machine.start();
  await tested.serveOutput();
  tested.machine.pause();
  tested.machine.stop();
  tested.machine.stop();
  expect(tested.machine.state).toEqual({ name: 'stopped' });
});

/** Returns a new file for the memory of a machine. */
function memoryFile(): { path: string; fd: number } {
  const path = join(folder, `${machines++}.memory`);
  const fd = openSync(path, 'w+');
  ftruncateSync(fd, 64 * 2 ** 20);
  return { path, fd };
}

/** Counts in memory and on the console. */
const COUNTER = `
    mov edx, 0x3f8
  again:
    mov al, [0x2000000]
    out dx, al
    inc byte ptr [0x2000000]
    jmp again`;

/** KiB of private copies that this process has of pages of a file. */
function copies(path: string): number {
  const mappings = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const ours = mappings.filter((mapping) => mapping.slice(0, mapping.indexOf('\n')).endsWith(path));
  expect(ours).not.toHaveLength(0);
  return ours.reduce((sum, mapping) => sum + Number(/^Anonymous:\s+(\d+) kB/m.exec(mapping)?.[1]), 0);
}

test('machines that continue a saved one on KVM count on where it stood, each for itself', async () => {
  const { path, fd } = memoryFile();
  using tested = new TestedMachine('kvm', COUNTER);
  tested.machine.start();
  await tested.serveUntil(() => tested.written > 10);
  tested.machine.pause();
  const state: unknown = JSON.parse(JSON.stringify(tested.machine.save(fd)));
  // What the guest has not touched takes no room.
  expect(statSync(path).size).toBe(64 * 2 ** 20);
  expect(statSync(path).blocks * 512).toBeLessThan(2 ** 20);
  const next = (tested.console.at(-1)! + 1) % 256;
  for (let clone = 0; clone < 2; clone++) {
    using restored = new TestedMachine('kvm', COUNTER, { state, memory: openSync(path, 'r') });
    expect(copies(path)).toBe(0);
    restored.machine.start();
    await restored.serveUntil(() => restored.written > 10);
    expect(restored.console.slice(0, 4)).toEqual([0, 1, 2, 3].map((more) => (next + more) % 256));
    expect(copies(path)).toBeGreaterThan(0);
  }
  // The machine itself goes on too.
  tested.machine.resume();
  await tested.serveOutput();
});

test.each([
  [
    'of another number of vCPUs',
    (state: SavedMachine) => ({ ...state, vcpus: [] }),
    'machine.vcpus is not a list of 1',
  ],
  ['without a device', (state: SavedMachine) => ({ ...state, devices: [] }), 'machine.devices is not a list of 3'],
  ['of another kind', (state: SavedMachine) => ({ ...state, accel: 'tcg' }), 'machine.accel is not kvm'],
])('a saved machine %s is refused', async (_, change, message) => {
  const { path, fd } = memoryFile();
  using tested = new TestedMachine('kvm', COUNTER);
  tested.machine.start();
  await tested.serveOutput();
  tested.machine.pause();
  const state = change(tested.machine.save(fd));
  expect(() => new TestedMachine('kvm', COUNTER, { state, memory: openSync(path, 'r') })).toThrow(message);
});

test('saved memory that is cut short is refused', () => {
  const { fd } = memoryFile();
  ftruncateSync(fd, 64 * 2 ** 20 - 4096);
  expect(() => new TestedMachine('kvm', COUNTER, { state: {}, memory: fd })).toThrow(
    'the saved memory is damaged, or of another machine: it does not have 64 MiB',
  );
});

test('a paused machine on KVM is saved as plain JSON', async () => {
  using tested = new TestedMachine('kvm', CHATTER);
  const { machine } = tested;
  expect(refusal(() => machine.save(-1))).toBe('bad-state: cannot save the machine: it is built, not paused');
  machine.start();
  await tested.serveOutput();
  machine.pause();
  const saved = machine.save(memoryFile().fd);
  expect(saved).toMatchObject({
    accel: 'kvm',
    vm: { irqchips: expect.any(Array) },
    vcpus: [{ tscKhz: expect.any(Number) }],
  });
  // The vsock, entropy and balloon devices.
  expect(saved.devices).toHaveLength(3);
  expect(JSON.parse(JSON.stringify(saved))).toEqual(saved);
  machine.resume();
  await tested.serveOutput();
});

test('an emulated machine refuses to be saved', () => {
  using tested = new TestedMachine('tcg', CHATTER);
  expect(refusal(() => tested.machine.save(-1))).toBe(
    'unsupported: an emulated machine cannot be saved: use --accel kvm',
  );
});
