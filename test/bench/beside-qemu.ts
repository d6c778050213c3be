// Compares our machine with QEMU's microvm on KVM. Both have the same kernel, initial RAM file
// system and disk, one vCPU and 256 MiB.
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kernelPath } from '../../kernels/index.js';
import { MachineOutside } from '../../sandbox/machine/outside.js';
import { bootUnjailed } from '../../sandbox/machine/unjailed.js';
import { baseCommandLine } from '../../vmm/boot/command-line.js';
import type { MachineEvent, MachineSpec } from '../../vmm/machine.js';
import { GUEST_DISK, GUEST_INITRAMFS, GUEST_LINE, HOLD_WORDS } from './bench-guest.js';
import { KVM_COUNTERS, mountKvmCounters, readKvmCounters } from './kvm-exits.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { MACHINE_PROGRAM } from './paths.js';
import { memoryUse } from './proc.js';
import { type StopwatchOptions, type Timing, time } from './stopwatch.js';

const MEMORY_MIB = 256;
const OURS = 'tsvm machine';
const QEMU = 'QEMU microvm';

export function guestKernel(): string {
  const kernel = kernelPath();
  if (kernel === undefined) throw new Error('no guest kernel is built: run tsvm kernel build');
  return kernel;
}

/** Runs the guest once on a VMM. `words` go to the end of the kernel command line. */
type Vmm = (words: string, options: StopwatchOptions) => Promise<Timing>;

async function runOurs(words: string, options: StopwatchOptions): Promise<Timing> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
  const spec: MachineSpec = {
    accel: 'kvm',
    kernel: guestKernel(),
    initramfs: GUEST_INITRAMFS,
    commandLine: `loglevel=1 ${words}`,
    cpus: 1,
    memory: MEMORY_MIB * 2 ** 20,
    disks: [
      { id: 'image', readOnly: true, extents: [{ path: GUEST_DISK, offset: 0, length: statSync(GUEST_DISK).size }] },
    ],
    vsock: { guestCid: 3, path: join(folder, 'vsock') },
    console: true,
    logLevel: 'error',
  };
  using outside = new MachineOutside(spec, [], { probeCache: join(tmpdir(), 'tsvm-bench-probe.json') });
  const request = (control: Socket) => bootUnjailed(control, outside);
  try {
    return await time(process.execPath, [MACHINE_PROGRAM], { ...options, request });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function runQemu(words: string, options: StopwatchOptions): Promise<Timing> {
  // This microvm has no i8042. A triple fault resets it.
  const commandLine = baseCommandLine({ devices: [], console: false, reboot: 't' });
  const args = [
    ['-accel', 'kvm', '-cpu', 'host', '-smp', '1', '-m', `${MEMORY_MIB}M`],
    ['-M', 'microvm,acpi=off,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on,memory-backend=ram'],
    ['-object', `memory-backend-memfd,id=ram,size=${MEMORY_MIB}M,share=on`],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ['-kernel', guestKernel(), '-initrd', GUEST_INITRAMFS, '-append', `${commandLine} ${words}`],
    ['-drive', `id=image,file=${GUEST_DISK},format=raw,if=none,readonly=on`],
    ['-global', 'virtio-mmio.force-legacy=false', '-device', 'virtio-blk-device,drive=image'],
  ];
  return time('qemu-system-x86_64', args.flat(), options);
}

function checkedOutput(name: string, timing: Timing): number {
  if (timing.output !== undefined) return timing.output;
  throw new Error(`${name}: the guest said nothing\n${timing.text}${timing.answer}`);
}

async function measureTimes(name: string, vmm: Vmm, samples: Samples): Promise<void> {
  const timing = await vmm('', { until: GUEST_LINE });
  samples.add(`${name}: first output`, 'ms', checkedOutput(name, timing));
  samples.add(`${name}: exit`, 'ms', timing.exit);
  for (const line of timing.answer.split('\n').filter(Boolean)) {
    const event = JSON.parse(line) as MachineEvent;
    if (event.type !== 'stopped') continue;
    const { exits, ioctls } = event.statistics;
    for (const [reason, count] of Object.entries(exits))
      samples.add(`${name}: exits to the VMM, ${reason}`, 'count', count);
    const sum = Object.values(ioctls).reduce((total, count) => total + count, 0);
    samples.add(`${name}: KVM ioctls other than KVM_RUN`, 'count', sum);
  }
}

/** Measures memory and KVM's counters while the guest waits after its line, and kills the VMM. */
async function measureStanding(name: string, vmm: Vmm, samples: Samples): Promise<void> {
  const counted = mountKvmCounters();
  const onOutput = ({ pid }: ChildProcess) => {
    const { pss, guestPss, peakRss } = memoryUse(pid!);
    samples.add(`${name}: memory, guest's`, 'MiB', guestPss);
    samples.add(`${name}: memory, beside the guest's (PSS)`, 'MiB', pss - guestPss);
    samples.add(`${name}: memory, peak RSS`, 'MiB', peakRss);
    const counters: Record<string, number> = counted ? readKvmCounters(pid!) : {};
    for (const counter of KVM_COUNTERS) {
      const count = counters[counter];
      if (count !== undefined) samples.add(`${name}: KVM's ${counter} until first output`, 'count', count);
    }
    process.kill(pid!, 'SIGKILL');
  };
  checkedOutput(name, await vmm(HOLD_WORDS, { until: GUEST_LINE, onOutput }));
}

function ratios(measurements: readonly Measurement[]): Measurement[] {
  return measurements.flatMap((ours) => {
    const what = ours.name.slice(OURS.length + 2);
    const qemu = measurements.find(({ name }) => name === `${QEMU}: ${what}`);
    return ours.name.startsWith(OURS) && qemu !== undefined ? [ratio(`${OURS} / ${QEMU}: ${what}`, ours, qemu)] : [];
  });
}

export const besideQemu: Benchmark = {
  name: 'beside-qemu',
  title: 'Our machine beside QEMU microvm: same kernel, init and disk',
  needsKvm: true,
  async measure({ runs }) {
    const ours = new Samples();
    const qemu = new Samples();
    for (let run = 0; run < runs; run++) {
      await measureTimes(OURS, runOurs, ours);
      await measureTimes(QEMU, runQemu, qemu);
    }
    await measureStanding(OURS, runOurs, ours);
    await measureStanding(QEMU, runQemu, qemu);
    const measurements = [...ours.measurements(), ...qemu.measurements()];
    return [...measurements, ...ratios(measurements)];
  },
};
