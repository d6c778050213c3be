// The machine process: started by its owner with the control socket as descriptor 3 (machine.ts).
//
// Whatever takes time to come up comes up while the specification is still on its way: the first vCPU's thread, and
// beside it the rest of the program.
import { MachineShared } from './accel/vcpu-shared.js';
import { startVcpuThread } from './accel/vcpu-start.js';

const workerUrl = new URL('./vcpu.js', import.meta.url);
const machine = new MachineShared();
const thread = startVcpuThread(machine, workerUrl);
const { runMachineProcess } = await import('./machine-process.js');
runMachineProcess(machine, thread, workerUrl);
