// Creates the machine that a specification asks for, with its devices.
import type { FuseServer, OpenShare } from '../devices/fs/server.js';
import type { VirtioNet } from '../devices/net/device.js';
import type { Kvm } from '../kvm/kvm.js';
import { type Accelerator, MachineError, type MachineSpec } from '../machine.js';
import { createDevices } from './devices.js';
import { KvmMachine, type Saved } from './kvm/machine.js';
import type { MachineShared } from './kvm/vcpu-shared.js';
import type { StartedThread } from './kvm/vcpu-start.js';
import { VcpuThreads } from './kvm/vcpu-threads.js';
import type { Machine, MachineContext } from './machine.js';
import type { NetworkContext } from './network.js';
import { TcgMachine } from './tcg/machine.js';
import { UmlMachine } from './uml/machine.js';

/** What the process prepares for a machine on KVM before the specification arrives. */
export interface KvmReserve {
  /** The open `/dev/kvm`, or why it could not be opened. */
  kvm: Kvm | MachineError;
  /** The bundle of vcpu-worker.ts. */
  workerUrl: URL;
  /** The memory shared with the started threads. */
  shared: MachineShared;
  started: readonly StartedThread[];
}

export interface CreateOptions {
  spec: MachineSpec;
  /** Opened by the owner. */
  shares: readonly OpenShare[];
  accel: Accelerator;
  reserve: KvmReserve;
  context: MachineContext;
  network: NetworkContext;
  /** A machine to continue, which was saved with the same specification. On KVM only. */
  saved?: Saved;
}

export interface CreatedMachine {
  machine: Machine;
  /** Undefined if the guest has no network device. */
  network: VirtioNet | undefined;
  /** Undefined if the guest has no shares. */
  server: FuseServer | undefined;
}

/**
 * Builds the machine and loads its kernel. If this throws, nothing is released: the process exits
 * and the kernel reclaims everything.
 * @throws MachineError of any code except `bad-state`; libc.SystemError if the host refuses
 */
export function createMachine(options: CreateOptions): CreatedMachine {
  const { spec, shares, accel, reserve, context, saved } = options;
  if (saved !== undefined && accel !== 'kvm') {
    throw new MachineError('unsupported', 'a saved machine needs KVM: use --accel kvm');
  }
  if (accel === 'tcg') {
    const { devices, ...found } = createDevices(spec, shares, accel, context.files, options.network);
    return { machine: new TcgMachine(spec, devices, context), ...found };
  }
  if (accel === 'uml') {
    const { devices, ...found } = createDevices(spec, shares, accel, context.files, options.network);
    return { machine: new UmlMachine(spec, devices, context), ...found };
  }
  const { kvm, workerUrl, shared, started } = reserve;
  if (kvm instanceof MachineError) throw kvm;
  // Threads take longest to start, so they start while the devices are opened.
  const threads = new VcpuThreads(workerUrl, shared, started);
  threads.prepare(spec.cpus);
  const { devices, ...found } = createDevices(spec, shares, accel, context.files, options.network);
  return { machine: new KvmMachine(spec, devices, context, { kvm, threads, saved }), ...found };
}
