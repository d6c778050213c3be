// The machine process. Its owner starts it with the control socket as descriptor 3 (machine.ts).
// The optional argument is the file that caches the result of the KVM probe.
//
// Everything slow starts before the specification arrives: the first vCPU's thread, unless KVM is
// known to be unusable, and the loading of the rest of the program.
import '../../libc/no-debugger.js';

import { MachineShared } from '../accel/kvm/vcpu-shared.js';
import { startVcpuThread } from '../accel/kvm/vcpu-start.js';
import { storedProbe } from './probe-cache.js';

const workerUrl = new URL('./vcpu.js', import.meta.url);
const shared = new MachineShared();
const [, , probeCache = ''] = process.argv;
const started = storedProbe(probeCache)?.usable === false ? [] : [startVcpuThread(shared, workerUrl)];
const { serveMachine } = await import('./server.js');
serveMachine({ shared, workerUrl, started });
