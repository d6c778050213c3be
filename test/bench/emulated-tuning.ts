// Finds the best arguments of QEMU and of the guest's kernel on an emulated CPU. It runs the same
// guest with one thing changed at a time, and measures what the kernel does until its init. The
// guest mounts a disk, prints a line and resets the machine.
import { baseCommandLine } from '../../vmm/boot/command-line.js';
import { GUEST_DISK, GUEST_INITRAMFS, GUEST_LINE } from './bench-guest.js';
import { guestKernel } from './beside-qemu.js';
import { hostParameters } from './emulated-machine.js';
import { type Benchmark, Samples } from './measurement.js';
import { type Timing, time } from './stopwatch.js';

interface Setting {
  machine: string;
  accel: string;
  cpu: string;
  smp: string;
  words: readonly string[];
}

const words = hostParameters();

/** The setting of vmm/accel/. */
const OURS: Setting = {
  machine: 'rtc=on',
  accel: 'tcg,thread=multi',
  cpu: 'max,-erms',
  smp: '1,maxcpus=2',
  words,
};

const VARIANTS: readonly [name: string, change: Partial<Setting>][] = [
  ['as it is', {}],
  ['rtc=off', { machine: 'rtc=off' }],
  ['without nolapic_timer', { words: words.filter((word) => word !== 'nolapic_timer') }],
  ['without tsc_early_khz', { words: words.filter((word) => !word.startsWith('tsc_early_khz=')) }],
  ['mitigations on', { words: words.filter((word) => word !== 'mitigations=off') }],
  ['without room for a second CPU', { smp: '1' }],
  ['thread=single', { accel: 'tcg,thread=single' }],
  ['tb-size=16', { accel: 'tcg,thread=multi,tb-size=16' }],
  ['tb-size=1024', { accel: 'tcg,thread=multi,tb-size=1024' }],
  ['-cpu max', { cpu: 'max' }],
  ['-cpu qemu64', { cpu: 'qemu64' }],
  ['-cpu EPYC', { cpu: 'EPYC' }],
];

/** Number of the kernel's slowest initcalls that the results name. */
const NAMED_INITCALLS = 10;

/** `bash` prints the user and system CPU time of its child, in seconds. */
const TIMED = ['-c', 'TIMEFORMAT="took %U %S"; time "$@"', 'bash', 'qemu-system-x86_64'];

async function run({ machine, accel, cpu, smp, words }: Setting, more: readonly string[] = []): Promise<Timing> {
  const line = [baseCommandLine({ devices: [], console: false, reboot: 't' }), ...words, ...more].join(' ');
  const args = [
    ['-accel', accel, '-cpu', cpu, '-smp', smp, '-m', '256M', '-M', `microvm,acpi=off,x-option-roms=off,${machine}`],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ['-kernel', guestKernel(), '-initrd', GUEST_INITRAMFS, '-append', line],
    ['-drive', `id=image,file=${GUEST_DISK},format=raw,if=none,readonly=on`],
    ['-global', 'virtio-mmio.force-legacy=false', '-device', 'virtio-blk-device,drive=image'],
  ];
  const timing = await time('bash', [...TIMED, ...args.flat()], { until: GUEST_LINE });
  if (timing.output === undefined) throw new Error(`QEMU: the guest said nothing\n${timing.text}`);
  return timing;
}

/**
 * Measures the initcalls of the kernel before its init: Documentation/admin-guide,
 * `initcall_debug`.
 */
async function measureInitcalls(samples: Samples): Promise<void> {
  const { text } = await run(OURS, ['initcall_debug', 'ignore_loglevel']);
  const all = [...text.matchAll(/initcall (\w+).* returned -?\d+ after (\d+) usecs/g)];
  const calls = all.map(([, name, microseconds]) => ({ name, ms: Number(microseconds) / 1000 }));
  const sum = calls.reduce((total, { ms }) => total + ms, 0);
  samples.add(`kernel: all ${calls.length} initcalls`, 'ms', sum);
  calls.sort((a, b) => b.ms - a.ms);
  for (const { name, ms } of calls.slice(0, NAMED_INITCALLS)) samples.add(`  ${name}`, 'ms', ms);
}

export const emulatedTuning: Benchmark = {
  name: 'emulated-tuning',
  title:
    'QEMU emulating the CPU, from its start to the end of a guest that does next to nothing: one thing changed at a time',
  needsKvm: false,
  async measure({ runs }) {
    const samples = new Samples();
    const processor = new Samples();
    for (let round = 0; round < runs; round++) {
      for (const [name, change] of VARIANTS) {
        const { exit, text } = await run({ ...OURS, ...change });
        const [, user, system] = /took ([\d.]+) ([\d.]+)/.exec(text) ?? [];
        samples.add(name, 'ms', exit);
        processor.add(`${name}: processor time`, 'ms', (Number(user) + Number(system)) * 1000);
      }
    }
    const initcalls = new Samples();
    await measureInitcalls(initcalls);
    return [...samples.measurements(), ...processor.measurements(), ...initcalls.measurements()];
  },
};
