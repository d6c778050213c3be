// The machine process. Its owner starts it with the control socket as descriptor 3 and /dev/kvm as
// descriptor 4 (machine.ts). The argument says what there is of KVM:
// - `kvm`: descriptor 4 is /dev/kvm.
// - `unusable`: descriptor 4 is /dev/kvm, and cannot run a stock kernel as an earlier probe found.
// - a negative errno: the owner could not open /dev/kvm.
//
// Everything slow starts before the specification arrives: the first vCPU's thread, unless KVM is
// known to be unusable, and the loading of the rest of the program.
import '../../libc/no-debugger.js';

import { MachineShared } from '../accel/kvm/vcpu-shared.js';
import { startVcpuThread } from '../accel/kvm/vcpu-start.js';
import { inheritedFiles } from '../host/inherited-files.js';
import { KVM_FD } from '../machine.js';

const workerUrl = new URL('./vcpu.cjs', import.meta.url);
const shared = new MachineShared();
const [, , kvm = 'kvm'] = process.argv;
const errno = Number(kvm);
const inherited = inheritedFiles();
const started = kvm === 'kvm' ? [startVcpuThread(shared, workerUrl)] : [];
void import('./server.js').then(({ serveMachine }) => {
  serveMachine({ shared, workerUrl, started }, errno < 0 ? errno : KVM_FD, inherited);
});
