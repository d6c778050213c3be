// The emulated machine, for hosts without a usable KVM: `tsvm run`, compared with a bare QEMU on
// the same emulator. The bare QEMU boots the same kernel from an initial RAM file system, looks at
// the same disk, and ends.
import { baseCommandLine } from '../../vmm/boot/command-line.js';
import { GUEST_DISK, GUEST_INITRAMFS, GUEST_LINE } from './bench-guest.js';
import { guestKernel } from './beside-qemu.js';
import { type Benchmark, ratio, Samples } from './measurement.js';
import { measurePhases } from './run-phases.js';
import { time } from './stopwatch.js';

const OURS = 'tsvm run to exit';
const QEMU = 'QEMU to exit';
const MEMORY = '512M';

/** Runs QEMU with the arguments that an expert would choose. */
async function runQemu(samples: Samples): Promise<void> {
  const words = `${baseCommandLine({ devices: [], console: false, reboot: 't' })} mitigations=off`;
  const args = [
    ['-accel', 'tcg', '-cpu', 'max', '-m', MEMORY, '-M', 'microvm,acpi=off,x-option-roms=off'],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ['-kernel', guestKernel(), '-initrd', GUEST_INITRAMFS, '-append', words],
    ['-drive', `id=image,file=${GUEST_DISK},format=raw,if=none,readonly=on`],
    ['-global', 'virtio-mmio.force-legacy=false', '-device', 'virtio-blk-device,drive=image'],
  ];
  const { output, exit, text } = await time('qemu-system-x86_64', args.flat(), { until: GUEST_LINE });
  if (output === undefined) throw new Error(`QEMU: the guest said nothing\n${text}`);
  samples.add('QEMU to first output', 'ms', output);
  samples.add(QEMU, 'ms', exit);
}

export const emulated: Benchmark = {
  name: 'emulated',
  title: 'tsvm run --accel tcg IMAGE echo hello, beside bare QEMU on the same emulator',
  needsKvm: false,
  async measure(options) {
    const qemu = new Samples();
    const ours = await measurePhases('tcg', options, () => runQemu(qemu));
    const theirs = qemu.measurements();
    const [mine, bare] = [ours.find(({ name }) => name === OURS)!, theirs.find(({ name }) => name === QEMU)!];
    return [...ours, ...theirs, ratio(`${OURS} / ${QEMU}`, mine, bare)];
  },
};
