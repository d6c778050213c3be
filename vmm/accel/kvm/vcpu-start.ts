// Starts a vCPU thread. A thread takes longest of all that a machine needs, so it starts before the
// rest of the program is loaded. This module therefore imports almost nothing.
import { Worker } from 'node:worker_threads';
import { type MachineShared, VcpuShared, type VcpuWorkerData } from './vcpu-shared.js';

/** A thread that waits for its vCPU. */
export interface StartedThread {
  shared: VcpuShared;
  worker: Worker;
}

/** @param workerUrl the bundle of vcpu-worker.ts */
export function startVcpuThread(machine: MachineShared, workerUrl: URL): StartedThread {
  const shared = new VcpuShared();
  const workerData: VcpuWorkerData = { vcpu: shared.buffer, machine: machine.buffer };
  // The device thread never returns to Node's event loop to pass messages on, so standard streams
  // stay unused.
  const worker = new Worker(workerUrl, { workerData, stdin: false, stdout: false, stderr: false });
  return { shared, worker };
}
