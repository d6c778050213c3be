// The disk of an emulated machine: fio in the guest, on our vhost-user blk and on that of
// qemu-storage-daemon. Both serve the same file from the page cache, so the path to it is measured.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildInitramfs, type GuestRun, programFiles, runOurs, runQemu } from './emulated-machine.js';
import { type Benchmark, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER } from './paths.js';

const MIB = 2 ** 20;
const SIZE = 512 * MIB;
const FILE = join(BENCH_FOLDER, 'disk.raw');
const GUEST: GuestRun = {
  initramfs: join(BENCH_FOLDER, 'fio.cpio'),
  command: ['/usr/bin/fio', '--output-format=terse', '--terse-version=3', '/jobs'],
};

interface Job {
  rw: 'read' | 'write' | 'randread' | 'randwrite';
  bs: '1M' | '4k';
  iodepth: number;
}

const JOBS: readonly Job[] = [
  ...([1, 16] as const).flatMap((iodepth) => [
    { rw: 'read', bs: '1M', iodepth } as const,
    { rw: 'write', bs: '1M', iodepth } as const,
  ]),
  ...([1, 32] as const).flatMap((iodepth) => [
    { rw: 'randread', bs: '4k', iodepth } as const,
    { rw: 'randwrite', bs: '4k', iodepth } as const,
  ]),
];

// gtod_reduce: fio reads the clock less often. On an emulated CPU that is most of its work.
const GLOBAL_OPTIONS = `[global]
filename=/dev/vda
direct=1
ioengine=libaio
runtime=2
time_based
gtod_reduce=1
thread
stonewall
`;

function nameOf({ rw, bs, iodepth }: Job): string {
  return `${rw} ${bs} depth ${iodepth}`;
}

function jobFile(): string {
  const jobs = JOBS.map((job) => `[${nameOf(job)}]\nrw=${job.rw}\nbs=${job.bs}\niodepth=${job.iodepth}\n`);
  return `${GLOBAL_OPTIONS}${jobs.join('')}`;
}

function prepare(): void {
  buildInitramfs(GUEST.initramfs, programFiles('/usr/bin/fio').set('/jobs', Buffer.from(jobFile())));
  const file = openSync(FILE, 'w');
  const piece = Buffer.alloc(MIB, 'not a hole');
  for (let done = 0; done < SIZE; done += MIB) writeSync(file, piece);
  closeSync(file);
}

function runWithOurs(folder: string): Promise<string> {
  const extents = [{ path: FILE, offset: 0, length: SIZE }];
  return runOurs(GUEST, join(folder, 'vsock'), [{ id: 'disk', readOnly: false, extents }]);
}

async function runWithDaemon(folder: string): Promise<string> {
  const socket = join(folder, 'daemon');
  const daemon = spawn('qemu-storage-daemon', [
    ...['--blockdev', `driver=file,node-name=file,filename=${FILE}`],
    ...['--export', `type=vhost-user-blk,id=disk,node-name=file,addr.type=unix,addr.path=${socket},writable=on`],
  ]);
  try {
    while (!existsSync(socket) && daemon.exitCode === null) await sleep(10);
    const device = ['-device', 'vhost-user-blk,chardev=disk,num-queues=1'];
    return await runQemu(GUEST, ['-chardev', `socket,id=disk,path=${socket}`, ...device]);
  } finally {
    daemon.kill();
  }
}

/**
 * Index of the total `KiB` of reads and of writes: fio(1), "TERSE OUTPUT" version 3. The next
 * fields are KiB/s, IOPS and milliseconds.
 */
const TOTALS = { read: 5, write: 46 };

/** A complete line has more fields than this. */
const LEAST_FIELDS = 120;
/**
 * Bound on the relative difference of a rate that fio reports and its total divided by its time.
 */
const ROUNDING = 0.01;

interface Rates {
  /** KiB/s. */
  bandwidth: number;
  /** Requests per second. */
  iops: number;
}

/** Parses fio's report of a successful job. Returns undefined if the report lost characters. */
function ratesOf(output: string, job: Job): Rates | undefined {
  const lines = output.split('\n').map((line) => line.trim().split(';'));
  const fields = lines.find(
    (each) => each[0] === '3' && each[2] === nameOf(job) && each[4] === '0' && each.length > LEAST_FIELDS,
  );
  if (fields === undefined) return undefined;
  const at = TOTALS[job.rw === 'read' || job.rw === 'randread' ? 'read' : 'write'];
  const [total = NaN, bandwidth = NaN, iops = NaN, time = NaN] = fields.slice(at, at + 4).map(Number);
  const isNear = (rate: number, other: number) => Math.abs(rate / other - 1) < ROUNDING;
  const blocks = total / (job.bs === '1M' ? 1024 : 4);
  if (!isNear(bandwidth, (total / time) * 1000) || !isNear(iops, (blocks / time) * 1000)) return undefined;
  return { bandwidth, iops };
}

/**
 * Runs the guest until fio's report on every job is complete, at most three times. A busy serial
 * port sometimes loses characters.
 */
async function saidOfAll(run: (folder: string) => Promise<string>): Promise<string> {
  for (let left = 3; ; left--) {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    try {
      const output = await run(folder);
      if (left === 1 || JOBS.every((job) => ratesOf(output, job) !== undefined)) return output;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}

function addSamples(samples: Samples, who: string, output: string): void {
  for (const job of JOBS) {
    const rates = ratesOf(output, job);
    if (rates === undefined) throw new Error(`${who}: fio said nothing of ${nameOf(job)}\n${output}`);
    const name = `${who}: ${nameOf(job)}`;
    if (job.bs === '1M') samples.add(name, 'MiB/s', rates.bandwidth / 1024);
    else samples.add(name, '1/s', rates.iops);
  }
}

export const emulatedDisk: Benchmark = {
  name: 'emulated-disk',
  title: 'The disk of an emulated machine, by fio: our vhost-user blk beside qemu-storage-daemon',
  needsKvm: false,
  async measure({ runs }) {
    prepare();
    const [ours, theirs] = [new Samples(), new Samples()];
    for (let run = 0; run < runs; run++) {
      addSamples(ours, 'tsvm', await saidOfAll(runWithOurs));
      addSamples(theirs, 'qemu-storage-daemon', await saidOfAll(runWithDaemon));
    }
    const [mine, other] = [ours.measurements(), theirs.measurements()];
    const ratios = JOBS.map((job, index) =>
      ratio(`tsvm / qemu-storage-daemon: ${nameOf(job)}`, mine[index], other[index]),
    );
    return [...mine, ...other, ...ratios];
  },
};
