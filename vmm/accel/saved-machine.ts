// The state of a saved machine except its memory: plain JSON.
import type { I8042State } from '../devices/i8042.js';
import type { SerialState } from '../devices/serial.js';
import type { VcpuState } from '../kvm/vcpu.js';
import type { VmState } from '../kvm/vm.js';
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
