// The owner of a machine on a host without cgroups, for hidden-processes.host.test.ts. Its machine
// process says which limits it has once its owner has bounded it. Prints that, and what the owner
// can tell of the machine's processes, as JSON.
//     bounded-owner FOLDER
import { writeFileSync } from 'node:fs';
import { MachineClient } from '../../../../sandbox/machine/machine-client.js';
import { MachineOutside } from '../../../../sandbox/machine/outside.js';
import { processTree } from '../../../../sandbox/machine/process-tree.js';
import type { MachineSpec } from '../../../../vmm/machine.js';

const MACHINE = `
  import { Socket } from 'node:net';
  import { getPriority } from 'node:os';
  const control = new Socket({ fd: 3 });
  control.on('data', (lines) => {
    if (!String(lines).includes('"boot"')) return;
    const { data_seg_size_kbytes: data } = process.report.getReport().userLimits;
    const what = data.soft + ' ' + data.hard + ' ' + getPriority();
    control.write(JSON.stringify({ type: 'refused', refusal: { reason: 'closed', what } }) + '\\n');
  });
`;

const [, , folder = ''] = process.argv;
const program = `${folder}/program.mjs`;
writeFileSync(program, MACHINE);
const file = `${folder}/file`;
writeFileSync(file, 'a kernel');
const spec: MachineSpec = {
  ...({ accel: 'kvm', kernel: file, initramfs: file, commandLine: '', cpus: 2, memory: 2 ** 26, disks: [] } as const),
  ...({ vsock: { guestCid: 3, path: `${folder}/vsock` }, console: false, logLevel: 'warn' } as const),
};
using machine = new MachineClient({ program, jail: 'auto' });
const limits = new Promise<string>((resolve, reject) => {
  machine.onRefusal = ({ what }) => resolve(what);
  machine.ended.then(({ error }) => reject(error));
});
machine.boot(new MachineOutside(spec, [], { onUnbounded: console.error }));
console.log(
  JSON.stringify({
    limits: await limits,
    files: machine.jail?.files,
    isWaitKnown: Number.isFinite(machine.processorWait),
    hasStarted: processTree(process.pid).includes(machine.groupPid ?? 0),
  }),
);
