// The binding to /dev/kvm, with tiny guests: exits, memory, CPUID, eventfds, and saving and
// restoring.
import { expect, test } from 'vitest';
import * as libc from '../../vmm/host/libc.js';
import { HOLE_END, HOLE_START } from '../../vmm/host/memory.js';
import { KVM_CAP_TSC_CONTROL } from '../../vmm/kvm/capabilities.js';
import { KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_EXIT_MMIO } from '../../vmm/kvm/exits.js';
import { kvm_clock_data, kvm_lapic_state, kvm_run } from '../../vmm/kvm/structs.js';
import type { VcpuState } from '../../vmm/kvm/vcpu.js';
import type { VmState } from '../../vmm/kvm/vm.js';
import { CODE, Guest } from './guest.js';

const word = (guest: Guest, address: number) => {
  const bytes = guest.memory.bytes(address, 4);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
};

test('a port write exits with port, size and value', () => {
  using guest = new Guest('mov dx, 0x3f8\n mov ax, 0x1234\n out dx, ax\n hlt');
  const { run } = guest.vcpu;
  expect(guest.run()).toBe(KVM_EXIT_IO);
  expect(run.getUint8(kvm_run['io.direction'])).toBe(1 - KVM_EXIT_IO_IN);
  expect(run.getUint16(kvm_run['io.port'], true)).toBe(0x3f8);
  expect(run.getUint8(kvm_run['io.size'])).toBe(2);
  expect(run.getUint32(kvm_run['io.count'], true)).toBe(1);
  expect(run.getUint16(run.getUint32(kvm_run['io.data_offset'], true), true)).toBe(0x1234);
  expect(guest.run()).toBe(KVM_EXIT_HLT);
});

test('a port read returns the value written to kvm_run', () => {
  using guest = new Guest('in al, 0x60\n hlt');
  const { run } = guest.vcpu;
  expect(guest.run()).toBe(KVM_EXIT_IO);
  expect(run.getUint8(kvm_run['io.direction'])).toBe(KVM_EXIT_IO_IN);
  run.setUint8(run.getUint32(kvm_run['io.data_offset'], true), 0xa5);
  expect(guest.run()).toBe(KVM_EXIT_HLT);
  expect(guest.vcpu.registers().rax & 0xffn).toBe(0xa5n);
});

test('an access outside memory exits with address, length and data', () => {
  using guest = new Guest('mov dword ptr [rbx], 0x11223344\n mov eax, [rbx]\n hlt', { bits: 64 });
  const { run } = guest.vcpu;
  guest.vcpu.setRegisters({ rbx: 0xd0000050 });
  expect(guest.run()).toBe(KVM_EXIT_MMIO);
  expect(run.getBigUint64(kvm_run['mmio.phys_addr'], true)).toBe(0xd0000050n);
  expect(run.getUint32(kvm_run['mmio.len'], true)).toBe(4);
  expect(run.getUint8(kvm_run['mmio.is_write'])).toBe(1);
  expect(run.getUint32(kvm_run['mmio.data'], true)).toBe(0x11223344);
  expect(guest.run()).toBe(KVM_EXIT_MMIO);
  expect(run.getUint8(kvm_run['mmio.is_write'])).toBe(0);
  run.setUint32(kvm_run['mmio.data'], 0x74726976, true);
  expect(guest.run()).toBe(KVM_EXIT_HLT);
  expect(guest.vcpu.registers().rax).toBe(0x74726976n);
});

test('memory above 3 GiB continues after the hole, and the hole is not memory', () => {
  const source = 'mov dword ptr [rbx], 1\n mov dword ptr [rcx], 2\n mov dword ptr [rdx], 3\n hlt';
  using guest = new Guest(source, { bits: 64, memory: HOLE_START + 2 ** 20 });
  guest.vcpu.setRegisters({ rbx: HOLE_START - 4, rcx: HOLE_END, rdx: HOLE_START });
  expect(guest.run()).toBe(KVM_EXIT_MMIO);
  expect(guest.vcpu.run.getBigUint64(kvm_run['mmio.phys_addr'], true)).toBe(BigInt(HOLE_START));
  expect(word(guest, HOLE_START - 4)).toBe(1);
  expect(word(guest, HOLE_END)).toBe(2);
  expect(guest.run()).toBe(KVM_EXIT_HLT);
});

test('CPUID returns in the guest what was set', () => {
  using guest = new Guest('mov eax, 0x40000000\n cpuid\n mov [0x500], ebx\n mov [0x504], edx\n hlt');
  const leaf = { function: 0x40000000, index: 0, flags: 0, eax: 0x40000001, ebx: 0x6d767374, ecx: 1, edx: 0xfedcba98 };
  guest.vcpu.setCpuid([...guest.kvm.supportedCpuid().filter((entry) => entry.function !== leaf.function), leaf]);
  expect(guest.run()).toBe(KVM_EXIT_HLT);
  expect([word(guest, 0x500), word(guest, 0x504)]).toEqual([leaf.ebx, leaf.edx]);
});

test('a write that an ioeventfd matches adds to it and does not exit', () => {
  const source =
    'mov dword ptr [rbx], 0\n mov dword ptr [rbx], 1\n mov dword ptr [rbx], 1\n mov dword ptr [rbx], 2\n hlt';
  using guest = new Guest(source, { bits: 64 });
  guest.vcpu.setRegisters({ rbx: 0xd0000050 });
  const queues = [libc.createEventFd(), libc.createEventFd()];
  try {
    queues.forEach((fd, queue) => {
      guest.vm.addIoeventfd(fd, 0xd0000050, queue);
    });
    expect(guest.run()).toBe(KVM_EXIT_MMIO);
    expect(guest.vcpu.run.getUint32(kvm_run['mmio.data'], true)).toBe(2);
    const counts = queues.map((fd) => {
      const count = new BigUint64Array(1);
      libc.read(fd, count, 8);
      return count[0];
    });
    expect(counts).toEqual([1n, 2n]);
  } finally {
    for (const fd of queues) libc.close(fd);
  }
});

/**
 * Makes the first 8259 deliver line N at vector 0x20 + N (Intel 8259A, initialization command
 * words). Only line 5 is unmasked.
 */
const INITIALIZE_8259 = `
  mov al, 0x11
  out 0x20, al
  mov al, 0x20
  out 0x21, al
  mov al, 0x04
  out 0x21, al
  mov al, 0x01
  out 0x21, al
  mov al, 0xdf
  out 0x21, al
  mov word ptr [0x25 * 4], offset handler
  mov word ptr [0x25 * 4 + 2], 0
`;

test('an irqfd raises its interrupt line', () => {
  using guest = new Guest(
    `${INITIALIZE_8259}
      out 0x80, al
      sti
      hlt
    handler:
      mov al, 0x55
      out 0x80, al`,
    { irqchip: true },
  );
  const irqFd = libc.createEventFd();
  try {
    guest.vm.addIrqfd(irqFd, 5);
    expect(guest.run()).toBe(KVM_EXIT_IO);
    libc.signalEventFd(irqFd);
    expect(guest.run()).toBe(KVM_EXIT_IO);
    expect(guest.vcpu.registers().rax & 0xffn).toBe(0x55n);
  } finally {
    libc.close(irqFd);
  }
});

test('a saved vCPU and VM continue in new ones', () => {
  const source = `${INITIALIZE_8259}
      mov ebx, 0x12345678
      out 0x80, al
      in al, 0x21
      out 0x81, al
      sti
      hlt
    handler:
      inc ebx
      out 0x82, al`;
  using saved = new Guest(source, { irqchip: true });
  saved.vm.createPit();
  expect(saved.run()).toBe(KVM_EXIT_IO);
  // Completes the exit.
  saved.vcpu.run.setUint8(kvm_run.immediate_exit, 1);
  expect(() => saved.run()).toThrow('EINTR');
  const state: { vm: VmState; vcpu: VcpuState } = JSON.parse(
    JSON.stringify({ vm: saved.vm.save(), vcpu: saved.vcpu.save() }),
  );

  using restored = new Guest('hlt', { irqchip: true });
  restored.vm.createPit();
  restored.memory.bytes(0, 2 ** 20).set(saved.memory.bytes(0, 2 ** 20));
  restored.vm.restore(state.vm);
  restored.vcpu.restore(state.vcpu);
  const again = restored.vcpu.save();
  expect(again.structures).toEqual(state.vcpu.structures);
  expect(again.xsave).toBe(state.vcpu.xsave);
  expect(again.cpuid).toEqual(state.vcpu.cpuid);
  // The TSC, and the MSRs that derive from it, have moved on.
  expect(again.msrs.map(({ index }) => index)).toEqual(state.vcpu.msrs.map(({ index }) => index));
  expect(restored.vm.save().irqchips).toEqual(state.vm.irqchips);

  expect(restored.run()).toBe(KVM_EXIT_IO);
  expect(restored.vcpu.run.getUint16(kvm_run['io.port'], true)).toBe(0x81);
  const { rax, rbx } = restored.vcpu.registers();
  expect([rax & 0xffn, rbx]).toEqual([0xdfn, 0x12345678n]);
  restored.vm.setIrqLine(5, 1);
  expect(restored.run()).toBe(KVM_EXIT_IO);
  expect(restored.vcpu.registers().rbx).toBe(0x12345679n);
});

test.each([
  ['an interrupt controller of the wrong size', (state: VmState) => ({ ...state, irqchips: ['AAAA', 'AAAA', 'AAAA'] })],
  ['a missing interrupt controller', (state: VmState) => ({ ...state, irqchips: [] })],
  ['a missing clock', ({ irqchips, pit }: VmState) => ({ irqchips, pit })],
])('a saved VM with %s is refused', (_, damage) => {
  using guest = new Guest('hlt', { irqchip: true });
  const state = guest.vm.save();
  expect(() => guest.vm.restore(damage(state))).toThrow(expect.objectContaining({ code: 'bad-snapshot' }));
  guest.vm.restore(state);
});

test.each([
  [
    'registers of the wrong size',
    (state: VcpuState) => ({ ...state, structures: { ...state.structures, regs: 'AAAA' } }),
  ],
  ['an MSR beyond 64 bits', (state: VcpuState) => ({ ...state, msrs: [{ index: 16, value: '18446744073709551616' }] })],
  ['a CPUID leaf that is no leaf', (state: VcpuState) => ({ ...state, cpuid: [1] })],
  ['an unknown field', (state: VcpuState) => ({ ...state, more: 1 })],
])('a saved vCPU with %s is refused', (_, damage) => {
  using guest = new Guest('hlt', { irqchip: true });
  const state = guest.vcpu.save();
  expect(() => guest.vcpu.restore(damage(state))).toThrow(expect.objectContaining({ code: 'bad-snapshot' }));
  guest.vcpu.restore(state);
});

/** Returns a saved structure with `change` made to it. */
function changed(structure: string, change: (view: DataView) => void): string {
  const bytes = new Uint8Array(Buffer.from(structure, 'base64'));
  change(new DataView(bytes.buffer));
  return Buffer.from(bytes).toString('base64');
}

const clockOf = (state: VmState) => Buffer.from(state.clock, 'base64').readBigUInt64LE(kvm_clock_data.clock);

test('the clock of a restored VM continues where it stood, however long it lay on disk', () => {
  using guest = new Guest('hlt', { irqchip: true });
  const state = guest.vm.save();
  const hour = 3_600_000_000_000n;
  const clock = changed(state.clock, (view) => {
    const { realtime } = kvm_clock_data;
    view.setBigUint64(realtime, view.getBigUint64(realtime, true) - hour, true);
  });
  using restored = new Guest('hlt', { irqchip: true });
  restored.vm.restore({ ...state, clock });
  expect(clockOf(restored.vm.save()) - clockOf(state)).toBeLessThan(hour / 2n);
});

test.each([
  [
    'a feature that this CPU lacks',
    (state: VcpuState) => ({
      ...state,
      cpuid: state.cpuid.map((leaf) => (leaf.function === 1 ? { ...leaf, ecx: (leaf.ecx ^ 0x20) >>> 0 } : leaf)),
    }),
    'the machine was saved on another CPU: CPUID leaf 0x1.0 differs',
  ],
  [
    'a leaf less',
    (state: VcpuState) => ({ ...state, cpuid: state.cpuid.slice(1) }),
    'the machine was saved on another CPU: CPUID leaf 0x0.0 differs',
  ],
  [
    'an MSR that this KVM lacks',
    (state: VcpuState) => ({ ...state, msrs: [{ index: 0x12345678, value: '1' }, ...state.msrs] }),
    'the machine was saved on another CPU or kernel: KVM refuses MSR 0x12345678',
  ],
])('a saved vCPU with %s is refused', (_, change, message) => {
  using saved = new Guest('hlt', { irqchip: true });
  using guest = new Guest('hlt', { irqchip: true });
  const state = saved.vcpu.save();
  expect(() => guest.vcpu.restore(change(state))).toThrow(expect.objectContaining({ code: 'bad-snapshot', message }));
  guest.vcpu.restore(state);
});

test('a saved vCPU with a TSC of another rate gets that rate, or is refused', () => {
  using saved = new Guest('hlt', { irqchip: true });
  using guest = new Guest('hlt', { irqchip: true });
  const state = saved.vcpu.save();
  const faster = { ...state, tscKhz: state.tscKhz * 2 };
  if (guest.kvm.checkExtension(KVM_CAP_TSC_CONTROL) > 0) {
    guest.vcpu.restore(faster);
    expect(guest.vcpu.save().tscKhz).toBe(faster.tscKhz);
  } else {
    const message = expect.stringContaining(`its TSC has ${faster.tscKhz} kHz, and this one's ${state.tscKhz} kHz`);
    expect(() => guest.vcpu.restore(faster)).toThrow(expect.objectContaining({ code: 'bad-snapshot', message }));
  }
});

/** Registers of the local APIC (Intel SDM volume 3, 11.4.1), and the vector of its timer here. */
const APIC_SPURIOUS = 0xf0;
const APIC_TIMER = 0x320;
const TIMER_VECTOR = 0x40;
const IA32_TSC = 0x10;
const IA32_TSC_DEADLINE = 0x6e0;

/** Returns `state` with a local APIC in TSC-deadline mode, which is armed for that much after the saved TSC. */
function withDeadline(state: VcpuState, after: bigint | undefined): VcpuState {
  const lapic = changed(state.structures.lapic_state, (view) => {
    expect(view.byteLength).toBe(kvm_lapic_state.size);
    view.setUint32(APIC_SPURIOUS, 0x1ff, true);
    view.setUint32(APIC_TIMER, (2 << 17) | TIMER_VECTOR, true);
  });
  const tsc = BigInt(state.msrs.find(({ index }) => index === IA32_TSC)?.value ?? 0);
  const others = state.msrs.filter(({ index }) => index !== IA32_TSC_DEADLINE);
  const deadline = after === undefined ? 0n : tsc + after;
  return {
    ...state,
    structures: { ...state.structures, lapic_state: lapic },
    msrs: [...others, { index: IA32_TSC_DEADLINE, value: `${deadline}` }],
  };
}

const TIMER_GUEST = `
    mov word ptr [0x40 * 4], offset handler
    mov word ptr [0x40 * 4 + 2], 0
    out 0x80, al
    sti
    nop
    out 0x81, al
    hlt
  handler:
    out 0x82, al`;

/** Returns the ports that the guest of a timer writes to, once it is restored, until the last of `ports`. */
function portsAfterRestore(
  change: (state: VcpuState) => VcpuState,
  last: number,
): { ports: number[]; state: VcpuState } {
  using saved = new Guest(TIMER_GUEST, { irqchip: true });
  expect(saved.run()).toBe(KVM_EXIT_IO);
  saved.vcpu.run.setUint8(kvm_run.immediate_exit, 1);
  expect(() => saved.run()).toThrow('EINTR');
  using restored = new Guest('hlt', { irqchip: true });
  restored.memory.bytes(0, 2 ** 20).set(saved.memory.bytes(0, 2 ** 20));
  restored.vm.restore(saved.vm.save());
  restored.vcpu.restore(change(saved.vcpu.save()));
  const ports: number[] = [];
  while (ports.at(-1) !== last) {
    expect(restored.run()).toBe(KVM_EXIT_IO);
    ports.push(restored.vcpu.run.getUint16(kvm_run['io.port'], true));
  }
  return { ports, state: restored.vcpu.save() };
}

test.each([
  ['passed before the machine was saved', -1_000_000n],
  ['comes later', 1_000_000n],
])('a TSC deadline that %s interrupts the restored guest', (_, after) => {
  const { ports, state } = portsAfterRestore((saved) => withDeadline(saved, after), 0x82);
  expect(ports.at(-1)).toBe(0x82);
  expect(state.msrs).toContainEqual({ index: IA32_TSC_DEADLINE, value: '0' });
});

test('a TSC deadline of zero stays disarmed', () => {
  const { ports, state } = portsAfterRestore((saved) => withDeadline(saved, undefined), 0x81);
  expect(ports).toEqual([0x81]);
  expect(state.msrs).toContainEqual({ index: IA32_TSC_DEADLINE, value: '0' });
});

/** `struct pvclock_vcpu_time_info` (Linux, arch/x86/include/asm/pvclock-abi.h). */
const PVCLOCK_FLAGS = 29;
const PVCLOCK_GUEST_STOPPED = 2;

test('the kvmclock of a guest that was paused says so when the guest goes on', () => {
  const source = `
    mov ecx, 0x4b564d01
    mov eax, 0x801
    xor edx, edx
    wrmsr
    out 0x80, al
    out 0x81, al`;
  using guest = new Guest(source, { irqchip: true });
  const flags = () => guest.memory.bytes(0x800 + PVCLOCK_FLAGS, 1)[0]! & PVCLOCK_GUEST_STOPPED;
  // A guest that has no kvmclock yet.
  guest.vcpu.announcePause();
  expect(guest.run()).toBe(KVM_EXIT_IO);
  expect(flags()).toBe(0);
  guest.vcpu.announcePause();
  expect(guest.run()).toBe(KVM_EXIT_IO);
  expect(flags()).toBe(PVCLOCK_GUEST_STOPPED);
});

test('describe returns the registers in hexadecimal', () => {
  using guest = new Guest('hlt');
  expect(guest.vcpu.describe()).toMatchObject({ rip: `0x${CODE.toString(16)}`, cs: '0x0', rflags: '0x2' });
});
