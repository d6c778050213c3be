// Streams between an emulated machine and the host: our vsock, compared with a bare virtio-serial
// port of QEMU. The programs in the guest and on the host are the same. The host's end is a unix
// socket in both cases.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildInitramfs, buildProgram, type GuestRun, runOurs, runQemu } from './emulated-machine.js';
import { type Benchmark, type Measurement, ratio, Samples } from './measurement.js';
import { BENCH_FOLDER, GUEST_STREAM_SOURCE } from './paths.js';

export const STREAM_PROGRAM = 'guest-stream';
const INITRAMFS = join(BENCH_FOLDER, 'stream.cpio');
const PORT = 1025;
/** The figures that the guest reports, in order. */
const KINDS: [name: string, unit: Measurement['unit']][] = [
  ['guest to host', 'MiB/s'],
  ['host to guest', 'MiB/s'],
  ['round trip of 1 byte', 'us'],
];
const LINE = /stream: ([\d.]+) ([\d.]+) ([\d.]+)\./;

function guest(...words: string[]): GuestRun {
  return { initramfs: INITRAMFS, command: ['/stream', ...words] };
}

/** Starts the program on the host. Resolves when it listens at `path`. */
async function startPeer(path: string): Promise<ChildProcess> {
  const peer = spawn(join(BENCH_FOLDER, STREAM_PROGRAM), ['listen', path], { stdio: ['ignore', 'ignore', 'inherit'] });
  while (!existsSync(path) && peer.exitCode === null) await sleep(10);
  return peer;
}

async function runVsock(folder: string): Promise<string> {
  const path = join(folder, 'vsock');
  const peer = await startPeer(`${path}_${PORT}`);
  try {
    return await runOurs(guest('vsock', String(PORT)), path, []);
  } finally {
    peer.kill();
  }
}

async function runSerial(folder: string): Promise<string> {
  const path = join(folder, 'port');
  const peer = await startPeer(path);
  try {
    return await runQemu(guest('/dev/vport0p1'), [
      ...['-chardev', `socket,id=port,path=${path}`],
      ...['-device', 'virtio-serial-device', '-device', 'virtserialport,chardev=port'],
    ]);
  } finally {
    peer.kill();
  }
}

/** A transport between guest and host: its name, and a run of the guest's program over it. */
type Way = [name: string, run: (folder: string) => Promise<string>];

/** Writes the initial RAM file system with the guest's program to `path`. */
export function buildStreamInitramfs(path: string): void {
  buildInitramfs(path, new Map([['/stream', buildProgram(GUEST_STREAM_SOURCE, STREAM_PROGRAM)]]));
}

/**
 * Runs the guest's program over two transports in turn.
 * @returns the figures of both, and the ratios of the first to the second
 */
export async function compareStreams(runs: number, [ours, runOurs]: Way, [theirs, runTheirs]: Way) {
  const [first, second] = [new Samples(), new Samples()];
  for (let run = 0; run < runs; run++) {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
    try {
      addSamples(first, ours, await runOurs(folder));
      addSamples(second, theirs, await runTheirs(folder));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  const [mine, other] = [first.measurements(), second.measurements()];
  const ratios = KINDS.map(([name], index) => ratio(`${ours} / ${theirs}: ${name}`, mine[index], other[index]));
  return [...mine, ...other, ...ratios];
}

/** Adds the figures that the guest's program printed. @throws Error if it printed none */
function addSamples(samples: Samples, who: string, output: string): void {
  const values = LINE.exec(output)?.slice(1);
  if (values === undefined) throw new Error(`${who}: the guest said no figures\n${output}`);
  KINDS.forEach(([name, unit], index) => {
    samples.add(`${who}: ${name}`, unit, Number(values[index]));
  });
}

export const emulatedStream: Benchmark = {
  name: 'emulated-stream',
  title: 'Streams of an emulated machine: our vsock beside virtio-serial of QEMU',
  needsKvm: false,
  async measure({ runs }) {
    buildStreamInitramfs(INITRAMFS);
    return compareStreams(runs, ['vsock', runVsock], ['virtio-serial', runSerial]);
  },
};
