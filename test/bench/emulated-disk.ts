// The emulated machine's disk: our vhost-user blk beside qemu-storage-daemon's, the same guest, file and emulator. The
// file is in the page cache: what is measured is the way to it.
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { baseCommandLine } from '../../vmm/boot/command-line.js';
import type { MachineSpec } from '../../vmm/machine.js';
import { guestKernel } from './beside-qemu.js';
import { makeCpio } from './cpio.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER, GUEST_DISK_IO_SOURCE, MACHINE_PROGRAM } from './paths.js';
import { type Timing, time } from './stopwatch.js';

const MIB = 2 ** 20;
const MEMORY = 256 * MIB;
const SIZE = 512 * MIB;
const FILE = join(BENCH_FOLDER, 'disk.raw');
const INITRAMFS = join(BENCH_FOLDER, 'disk-io.cpio');
/** What the guest says, in this order. */
const KINDS: [name: string, unit: 'MiB/s' | '1/s'][] = [
  ['read, 1 MiB in order', 'MiB/s'],
  ['write, 1 MiB in order', 'MiB/s'],
  ['read, 4 KiB scattered', '1/s'],
  ['write, 4 KiB scattered', '1/s'],
];
const LINE = /disk: ([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+)\./;
const UNTIL = 'disk: ';

function prepare(): void {
  mkdirSync(BENCH_FOLDER, { recursive: true });
  const init = join(BENCH_FOLDER, 'guest-disk-io');
  execFileSync('musl-gcc', ['-static', '-O2', '-s', '-Wall', '-Werror', '-o', init, GUEST_DISK_IO_SOURCE]);
  const cpio = makeCpio([
    { path: 'dev', mode: 0o040755 },
    { path: 'dev/console', mode: 0o020600, device: { major: 5, minor: 1 } },
    { path: 'init', mode: 0o100755, content: readFileSync(init) },
  ]);
  writeFileSync(INITRAMFS, cpio);
  const file = openSync(FILE, 'w');
  const piece = Buffer.alloc(MIB, 'not a hole');
  for (let done = 0; done < SIZE; done += MIB) writeSync(file, piece);
  ftruncateSync(file, SIZE);
  closeSync(file);
}

function runOurs(folder: string): Promise<Timing> {
  const spec: MachineSpec = {
    accel: 'tcg',
    kernel: guestKernel(),
    initramfs: INITRAMFS,
    commandLine: 'loglevel=1',
    cpus: 1,
    memory: MEMORY,
    disks: [{ id: 'disk', readOnly: false, extents: [{ path: FILE, offset: 0, length: SIZE }] }],
    vsock: { guestCid: 3, path: join(folder, 'vsock') },
    console: true,
    logLevel: 'error',
  };
  const request = `${JSON.stringify({ type: 'boot', spec })}\n`;
  return time(process.execPath, [MACHINE_PROGRAM], { until: UNTIL, request });
}

async function runDaemon(folder: string): Promise<Timing> {
  const socket = join(folder, 'daemon');
  const words = baseCommandLine({ devices: [], console: false, reboot: 't' });
  const daemon = spawn('qemu-storage-daemon', [
    ...['--blockdev', `driver=file,node-name=file,filename=${FILE}`],
    ...['--export', `type=vhost-user-blk,id=disk,node-name=file,addr.type=unix,addr.path=${socket},writable=on`],
  ]);
  try {
    while (!existsSync(socket) && daemon.exitCode === null) await sleep(10);
    const args = [
      [
        '-accel',
        'tcg',
        '-cpu',
        'max',
        '-m',
        `${MEMORY}B`,
        '-M',
        'microvm,acpi=off,x-option-roms=off,memory-backend=ram',
      ],
      ['-object', `memory-backend-memfd,id=ram,size=${MEMORY},share=on`],
      ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
      ['-kernel', guestKernel(), '-initrd', INITRAMFS, '-append', `${words} mitigations=off nolapic_timer`],
      ['-chardev', `socket,id=disk,path=${socket}`, '-global', 'virtio-mmio.force-legacy=false'],
      ['-device', 'vhost-user-blk,chardev=disk,num-queues=1'],
    ];
    return await time('qemu-system-x86_64', args.flat(), { until: UNTIL });
  } finally {
    daemon.kill();
  }
}

function add(samples: Samples, who: string, { text }: Timing): void {
  const values = LINE.exec(text)?.slice(1);
  if (values === undefined) throw new Error(`${who}: the guest said nothing\n${text}`);
  KINDS.forEach(([name, unit], index) => {
    samples.add(`${who}: ${name}`, unit, Number(values[index]));
  });
}

function ratios(ours: readonly Measurement[], theirs: readonly Measurement[]): Measurement[] {
  return KINDS.map(([name], index) => ratio(`tsvm / qemu-storage-daemon: ${name}`, ours[index], theirs[index]));
}

export const emulatedDisk: Benchmark = {
  name: 'emulated-disk',
  title: 'The disk of an emulated machine: our vhost-user blk beside qemu-storage-daemon',
  needsKvm: false,
  async measure({ runs }) {
    prepare();
    const [ours, theirs] = [new Samples(), new Samples()];
    for (let run = 0; run < runs; run++) {
      const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
      try {
        add(ours, 'tsvm', await runOurs(folder));
        add(theirs, 'qemu-storage-daemon', await runDaemon(folder));
      } finally {
        rmSync(folder, { recursive: true });
      }
    }
    const [mine, other] = [ours.measurements(), theirs.measurements()];
    return [...mine, ...other, ...ratios(mine, other)];
  },
};
