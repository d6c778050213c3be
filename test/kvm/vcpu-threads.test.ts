// vCPU threads and the device thread: which exits each answers, and how threads start, pause, stop
// and fail.
import { once } from 'node:events';
import { readdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { describeEnd } from '../../vmm/accel/kvm/vcpu-end.js';
import { MachineShared, MMIO_BASE, MMIO_WINDOW, ThreadCommand, Word } from '../../vmm/accel/kvm/vcpu-shared.js';
import { startVcpuThread } from '../../vmm/accel/kvm/vcpu-start.js';
import { type Bus, type VcpuEnd, VcpuThreads } from '../../vmm/accel/kvm/vcpu-threads.js';
import { EventLoop } from '../../vmm/host/event-loop.js';
import { exitName, KVM_EXIT_HLT } from '../../vmm/kvm/exits.js';
import { kvm_run } from '../../vmm/kvm/structs.js';
import { bundle, Guest, type GuestOptions } from './guest.js';

let programs: URL;
let workerUrl: URL;
beforeAll(async () => {
  programs = await bundle('vcpu-threads', { vcpu: 'vmm/accel/kvm/vcpu-worker.ts' }, 'cjs');
  workerUrl = new URL('vcpu.cjs', programs);
});
afterAll(() => rmSync(programs, { recursive: true, force: true }));

/** A bus that records the accesses that reach it, and answers reads with 0x5a. */
class RecordingBus implements Bus {
  readonly accesses: string[] = [];
  readPort(port: number, size: number): number {
    this.accesses.push(`in ${port.toString(16)} ${size}`);
    return 0x5a;
  }
  writePort(port: number, size: number, value: number): void {
    this.accesses.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
  }
  readMmio(address: number, data: Uint8Array): void {
    this.accesses.push(`read ${address.toString(16)} ${data.length}`);
    data.fill(0x5a);
  }
  writeMmio(address: number, data: Uint8Array): void {
    this.accesses.push(`write ${address.toString(16)} ${Buffer.from(data).toString('hex')}`);
  }
}

/** A guest on a vCPU thread. */
class Machine implements Disposable {
  readonly loop = new EventLoop();
  readonly bus = new RecordingBus();
  readonly #shared = new MachineShared();
  readonly started = startVcpuThread(this.#shared, workerUrl);
  readonly threads = new VcpuThreads(workerUrl, this.#shared, [this.started]);
  readonly guest: Guest;
  startTime: number | undefined;
  end: VcpuEnd | undefined;

  constructor(source: string, options?: GuestOptions) {
    this.guest = new Guest(source, options);
    this.threads.shared.deviceCount = 2;
  }

  start(): void {
    this.threads.start([this.guest.vcpu], this.loop, this.bus, {
      onStart: (time) => {
        this.startTime = time;
      },
      onEnd: (end) => {
        this.end = end;
        this.loop.stop();
      },
    });
  }

  /** Runs until the vCPU ends by itself. Returns the reason. */
  runToEnd(): string {
    this.start();
    this.loop.run();
    return this.end?.kind === 'exit' ? exitName(this.end.reason) : `error ${this.end?.message}`;
  }

  [Symbol.dispose](): void {
    this.threads[Symbol.dispose]();
    this.guest[Symbol.dispose]();
    this.loop[Symbol.dispose]();
  }
}

const HLT = exitName(KVM_EXIT_HLT);

test("the device thread answers the machine's ports", () => {
  using machine = new Machine('mov dx, 0x3fd\n in al, dx\n out 0x64, al\n hlt');
  expect(machine.runToEnd()).toBe(HLT);
  expect(machine.bus.accesses).toEqual(['in 3fd 1', 'out 64 1 5a']);
});

test('a string instruction accesses a port once for each element', () => {
  using machine = new Machine(`
    mov dx, 0x3f8
    mov si, offset text
    mov cx, 3
    rep outsb
    mov di, 0x500
    mov cx, 2
    rep insb
    hlt
  text: .ascii "abc"`);
  expect(machine.runToEnd()).toBe(HLT);
  expect(machine.bus.accesses).toEqual(['out 3f8 1 61', 'out 3f8 1 62', 'out 3f8 1 63', 'in 3f8 1', 'in 3f8 1']);
  expect([...machine.guest.memory.bytes(0x500, 3)]).toEqual([0x5a, 0x5a, 0]);
});

test('ports and addresses without a device read as ones and reach no device', () => {
  const source = 'in eax, 0x70\n mov ecx, eax\n out 0x80, al\n mov eax, [rbx]\n mov [rbx], eax\n hlt';
  using machine = new Machine(source, { bits: 64 });
  machine.guest.vcpu.setRegisters({ rbx: MMIO_BASE + 2 * MMIO_WINDOW });
  expect(machine.runToEnd()).toBe(HLT);
  const { rax, rcx } = machine.guest.vcpu.registers();
  expect([rax, rcx]).toEqual([0xffffffffn, 0xffffffffn]);
  expect(machine.bus.accesses).toEqual([]);
});

test("the device thread answers a device's window, at any width", () => {
  const source = 'mov al, [rbx]\n mov [rbx + 2], ax\n mov rax, [rbx + 0x108]\n mov [rbx + 0x108], rax\n hlt';
  using machine = new Machine(source, { bits: 64 });
  machine.guest.vcpu.setRegisters({ rax: 0, rbx: MMIO_BASE + MMIO_WINDOW });
  expect(machine.runToEnd()).toBe(HLT);
  expect(machine.bus.accesses).toEqual([
    'read d0001000 1',
    'write d0001002 5a00',
    'read d0001108 8',
    'write d0001108 5a5a5a5a5a5a5a5a',
  ]);
});

test('the vCPU thread answers interrupt status and acknowledgement itself', () => {
  const source = 'mov eax, [rbx + 0x60]\n mov dword ptr [rbx + 0x64], 1\n mov ecx, [rbx + 0x60]\n hlt';
  using machine = new Machine(source, { bits: 64 });
  machine.guest.vcpu.setRegisters({ rbx: MMIO_BASE + MMIO_WINDOW });
  machine.threads.shared.interruptStatus[1] = 3;
  expect(machine.runToEnd()).toBe(HLT);
  const { rax, rcx } = machine.guest.vcpu.registers();
  expect([rax, rcx]).toEqual([3n, 2n]);
  expect(machine.bus.accesses).toEqual([]);
});

test('exits are counted by reason', () => {
  using machine = new Machine('out 0x80, al\n out 0x80, al\n hlt');
  machine.runToEnd();
  const counts = machine.threads.exitCounts().map((count, reason) => [exitName(reason), count]);
  expect(counts.filter(([, count]) => count !== 0)).toEqual([
    ['io', 2],
    [HLT, 1],
  ]);
});

test('a vCPU that spins does not run while it is paused, and runs again when it is resumed', () => {
  using machine = new Machine('spin: inc dword ptr [0x500]\n jmp spin');
  const [counter] = [new Uint32Array(machine.guest.memory.bytes(0, 4096).buffer, 0x500, 1)];
  const waitForProgress = () => {
    const before = counter[0];
    while (counter[0] === before) machine.loop.poll(1);
  };
  machine.start();
  waitForProgress();
  machine.threads.pause();
  const paused = counter[0];
  machine.loop.poll(20);
  expect(counter[0]).toBe(paused);
  expect(machine.guest.vcpu.registers().rip).toBeGreaterThanOrEqual(0x1000n);
  machine.threads.resume();
  waitForProgress();
  expect(machine.threads.stop()).toBe(true);
  const stopped = counter[0];
  machine.loop.poll(20);
  expect(counter[0]).toBe(stopped);
  expect(machine.end).toBeUndefined();
});

test('a pause first answers the current exit', () => {
  using machine = new Machine('spin: in al, 0x60\n inc dword ptr [0x500]\n jmp spin');
  machine.start();
  for (let round = 0; round < 50; round++) {
    machine.loop.poll(1);
    machine.threads.pause();
    // Before the port read or after it, never within.
    expect(machine.guest.vcpu.registers().rax & 0xffn).toBe(machine.bus.accesses.length > 0 ? 0x5an : 0n);
    machine.threads.resume();
  }
  expect(machine.threads.stop()).toBe(true);
});

test('a vCPU that does not pause in time runs on', () => {
  using loop = new EventLoop();
  using guest = new Guest('hlt');
  const shared = new MachineShared();
  // It has no program, and so does as little as one that the host gives no processor.
  const late = startVcpuThread(shared, new URL('data:text/javascript,'));
  // The time that it has passes at once.
  using _time = vi.spyOn(Atomics, 'wait').mockReturnValue('timed-out');
  using threads = new VcpuThreads(workerUrl, shared, [late]);
  threads.start([guest.vcpu], loop, new RecordingBus(), { onStart: () => {}, onEnd: () => {} });
  expect(() => threads.pause()).toThrow('a vCPU did not pause in half a minute');
  expect(late.shared.load(Word.COMMAND)).toBe(ThreadCommand.run);
  expect(guest.vcpu.run.getUint8(kvm_run.immediate_exit)).toBe(0);
});

test('a vCPU that waits for an interrupt can be stopped', () => {
  using machine = new Machine('out 0x64, al\n cli\n hlt', { irqchip: true });
  machine.start();
  while (machine.bus.accesses.length === 0) machine.loop.poll(10);
  expect(machine.threads.stop()).toBe(true);
});

test('threads that have no vCPU yet can be stopped', () => {
  using threads = new VcpuThreads(workerUrl);
  threads.prepare(2);
  expect(threads.stop()).toBe(true);
});

test('the bus may stop the machine that calls it', () => {
  using machine = new Machine('spin: out 0x64, al\n jmp spin');
  let stopped: boolean | undefined;
  machine.bus.writePort = () => {
    stopped = machine.threads.stop();
  };
  machine.start();
  while (stopped === undefined) machine.loop.poll(10);
  expect(stopped).toBe(true);
});

test('an ioctl of a vCPU that fails in its thread is reported', () => {
  using machine = new Machine('hlt');
  const fd = machine.guest.vcpu.fd;
  Object.defineProperty(machine.guest.vcpu, 'fd', { value: machine.guest.kvm.fd });
  expect(machine.runToEnd()).toMatch(/error KVM_SET_SIGNAL_MASK: E/);
  Object.defineProperty(machine.guest.vcpu, 'fd', { value: fd });
});

// A thread that is gone cannot be kicked, and one that leaves after the process took its filter
// ends it.
test('the thread of a vCPU that ended stays until it is stopped', async () => {
  using machine = new Machine('hlt');
  const { shared, worker } = machine.started;
  expect(machine.runToEnd()).toBe(HLT);
  await sleep(300);
  expect(readdirSync('/proc/self/task')).toContain(`${shared.load(Word.TID)}`);
  const gone = once(worker, 'exit');
  expect(machine.threads.stop()).toBe(true);
  await gone;
});

test('the error of a triple fault names it', () => {
  using machine = new Machine('mov rax, [rbx]', { bits: 64 });
  // This address is not mapped, and there is no interrupt table.
  machine.guest.vcpu.setRegisters({ rbx: 2 ** 40 });
  machine.guest.vcpu.setSpecialRegisters({ idt: { base: 0, limit: 0 } });
  expect(machine.runToEnd()).toBe('shutdown');
  const error = machine.end && describeEnd(machine.end);
  expect(error).toMatchObject({ code: 'guest-crash', message: 'the guest crashed: triple fault (vCPU 0)' });
});
