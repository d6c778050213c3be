// Starts a vCPU thread. It takes the longest of all that a machine needs, so it is started before the rest of the
// program is even loaded: this module needs nothing else.
import { Worker } from 'node:worker_threads';
import { type MachineShared, VcpuShared, type VcpuWorkerData } from './vcpu-shared.js';

/** A thread that waits for its vCPU. */
export interface StartedThread {
  shared: VcpuShared;
  worker: Worker;
}

/** `workerUrl`: the bundle of vcpu-worker.ts. */
export function startVcpuThread(machine: MachineShared, workerUrl: URL): StartedThread {
  const shared = new VcpuShared();
  const workerData: VcpuWorkerData = { vcpu: shared.buffer, machine: machine.buffer };
  // The device thread does not come round to pass messages on: standard streams stay unused.
  const worker = new Worker(workerUrl, { workerData, stdin: false, stdout: false, stderr: false });
  return { shared, worker };
}
