// The time to the first byte of a file that the guest has not read before, on an emulated CPU. Our
// disk is composed of files in the store. QEMU's virtio-blk serves one file with the same bytes.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Home } from '../../sandbox/home/home.js';
import { GUEST_DISK, prepareGuest } from './bench-guest.js';
import { buildInitramfs, buildProgram, type GuestRun, runOurs, runQemu } from './emulated-machine.js';
import { type Benchmark, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER, GUEST_FIRST_BYTE_SOURCE } from './paths.js';

const GUEST: GuestRun = { initramfs: join(BENCH_FOLDER, 'first-byte.cpio'), command: ['/first-byte'] };
const QEMU_DISK = [
  ...['-drive', `id=image,file=${GUEST_DISK},format=raw,if=none,readonly=on`],
  ...['-device', 'virtio-blk-device,drive=image'],
];

/** Returns the mean time per file in microseconds. */
function microseconds(output: string): number {
  const [, files, nanoseconds] = /took (\d+) (\d+)/.exec(output) ?? [];
  return Number(nanoseconds) / Number(files) / 1000;
}

export const firstByte: Benchmark = {
  name: 'first-byte',
  title: 'First byte of a file of the image (emulated CPU), beside virtio-blk of QEMU',
  needsKvm: false,
  async measure({ runs, image }) {
    await prepareGuest(image);
    buildInitramfs(GUEST.initramfs, new Map([['/first-byte', buildProgram(GUEST_FIRST_BYTE_SOURCE, 'first-byte')]]));
    const { disk } = await new Home().images.resolve(image);
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    try {
      const samples = new Samples();
      for (let run = 0; run < runs; run++) {
        const disks = [{ id: 'image', readOnly: true, extents: disk }];
        samples.add('tsvm', 'us', microseconds(await runOurs(GUEST, join(folder, `vsock-${run}`), disks)));
        samples.add('QEMU', 'us', microseconds(await runQemu(GUEST, QEMU_DISK)));
      }
      const [ours, qemu] = samples.measurements();
      return [...samples.measurements(), ratio('tsvm / QEMU', ours, qemu)];
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};
