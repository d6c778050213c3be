// The state of a saved machine except its memory: plain JSON.
import type { I8042State } from '../devices/i8042.js';
import type { SerialState } from '../devices/serial.js';
import type { VcpuState } from '../kvm/vcpu.js';
import type { VmState } from '../kvm/vm.js';
import { type Check, list, record, text } from '../saved-state.js';
import type { VirtioMmioState } from '../virtio/mmio/state.js';

/**
 * Valid only with the same machine specification and the guest memory of the same moment. Only a
 * machine on KVM can be saved.
 */
export interface SavedMachine {
  accel: 'kvm';
  vm: VmState;
  /** By vCPU number. */
  vcpus: VcpuState[];
  /** The virtio devices with their transports, in the machine's order. */
  devices: VirtioMmioState[];
  serial: SerialState;
  i8042: I8042State;
}

/** A saved machine whose parts are not checked yet: each part checks its own when it is restored. */
export type SavedParts = { [Name in keyof SavedMachine]: SavedMachine[Name] extends unknown[] ? unknown[] : unknown };

const anything: Check<unknown> = (value) => value;

/** Checks that a saved machine has the parts of a machine with so many vCPUs and devices. */
export function savedParts(cpus: number, devices: number): Check<SavedParts> {
  return record<SavedParts>({
    accel: text(/^kvm$/, 'kvm'),
    vm: anything,
    vcpus: list(anything, cpus, cpus),
    devices: list(anything, devices, devices),
    serial: anything,
    i8042: anything,
  });
}
