// The machine process: started by its owner with the control socket as descriptor 3 (machine.ts). Its argument, which may
// be missing, is the file that keeps the verdict of the KVM probe.
//
// Whatever takes time to come up comes up while the specification is still on its way: the first vCPU's thread, unless
// KVM is known to be of no use, and beside it the rest of the program.
import { MachineShared } from '../accel/kvm/vcpu-shared.js';
import { startVcpuThread } from '../accel/kvm/vcpu-start.js';
import { storedProbe } from './probe-cache.js';

const workerUrl = new URL('./vcpu.js', import.meta.url);
const shared = new MachineShared();
const [, , probeCache = ''] = process.argv;
const started = storedProbe(probeCache)?.usable === false ? [] : [startVcpuThread(shared, workerUrl)];
const { serveMachine } = await import('./server.js');
serveMachine({ shared, workerUrl, started });
