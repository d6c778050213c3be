// The two machines that the benchmarks of the CPU emulator compare: ours, and QEMU with the
// arguments that an expert would choose. Both have the same kernel and initial RAM file system, and
// one CPU. The guest runs one program and resets the machine.
import { execFileSync } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { O_PATH } from '../../libc/openat2.js';
import { MachineOutside, readTscKhz } from '../../sandbox/machine/outside.js';
import { bootUnjailed } from '../../sandbox/machine/unjailed.js';
import { emulationParameters } from '../../vmm/accel/tcg/machine.js';
import { baseCommandLine } from '../../vmm/boot/command-line.js';
import type { DiskSpec, MachineSpec, NetworkSpec, ShareSpec } from '../../vmm/machine.js';
import { guestKernel } from './beside-qemu.js';
import { type CpioEntry, makeCpio } from './cpio.js';
import { BENCH_FOLDER, GUEST_RUN_SOURCE, MACHINE_PROGRAM } from './paths.js';
import { type Timing, time } from './stopwatch.js';

const MEMORY = 512 * 2 ** 20;
/** The start of the guest's last line. The program's exit code follows. */
const UNTIL = 'guest: ended with ';

const S_IFDIR = 0o040755;
const S_IFREG = 0o100755;
const S_IFCHR = 0o020600;

/** Builds a static program from a C source of the benchmarks, and returns it. */
export function buildProgram(source: string, name: string): Buffer {
  mkdirSync(BENCH_FOLDER, { recursive: true });
  const program = join(BENCH_FOLDER, name);
  execFileSync('musl-gcc', ['-static', '-O2', '-s', '-Wall', '-Wextra', '-Werror', '-o', program, source]);
  return readFileSync(program);
}

/**
 * Writes an initial RAM file system to `path`. Its init runs a program as {@link GuestRun} says.
 * `files` are keyed by absolute path.
 */
export function buildInitramfs(path: string, files: ReadonlyMap<string, Uint8Array>): void {
  const content = new Map([...files, ['/init', buildProgram(GUEST_RUN_SOURCE, 'guest-run')]]);
  const folders = new Set(['/dev', '/proc', '/sys', '/tmp']);
  for (const file of content.keys()) {
    for (let folder = dirname(file); folder !== '/'; folder = dirname(folder)) folders.add(folder);
  }
  const entries: CpioEntry[] = [...folders].sort().map((folder) => ({ path: folder.slice(1), mode: S_IFDIR }));
  entries.push({ path: 'dev/console', mode: S_IFCHR, device: { major: 5, minor: 1 } });
  for (const [file, bytes] of content) entries.push({ path: file.slice(1), mode: S_IFREG, content: bytes });
  mkdirSync(BENCH_FOLDER, { recursive: true });
  writeFileSync(path, makeCpio(entries));
}

/** Returns a program of the host and the libraries that it loads, by absolute path. */
export function programFiles(program: string): Map<string, Uint8Array> {
  const libraries = execFileSync('ldd', [program], { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
  return new Map([program, ...libraries].map((path) => [path, readFileSync(path)]));
}

/** The job of a guest: a program of its initial RAM file system, and its arguments. */
export interface GuestRun {
  initramfs: string;
  command: readonly string[];
  /** Default: the guest kernel. */
  kernel?: string;
}

/** Returns the output of the guest's program. @throws Error if the program or the machine failed */
function outputOf(who: string, { output, text, answer }: Timing): string {
  const [said = '', code = ''] = text.split(UNTIL);
  if (output === undefined || !code.startsWith('0')) throw new Error(`${who}: the guest failed\n${text}${answer}`);
  return said;
}

/**
 * Runs the guest on our machine. The host side of its vsock device is at the path `vsock`.
 * @returns the output of the guest's program
 * @throws Error if the program or the machine failed
 */
export async function runOurs(
  { initramfs, command }: GuestRun,
  vsock: string,
  disks: DiskSpec[],
  shares: ShareSpec[] = [],
  network?: NetworkSpec,
): Promise<string> {
  const spec: MachineSpec = {
    accel: 'tcg',
    kernel: guestKernel(),
    initramfs,
    commandLine: `loglevel=1 run=${command.join(',')}`,
    cpus: 1,
    memory: MEMORY,
    disks,
    shares,
    ...(network === undefined ? {} : { network }),
    vsock: { guestCid: 3, path: vsock },
    console: true,
    logLevel: 'error',
  };
  const opened = shares.map(({ path }) => openSync(path, O_PATH));
  using outside = new MachineOutside(spec, opened);
  const request = (control: Socket) => bootUnjailed(control, outside);
  return outputOf('tsvm', await time(process.execPath, [MACHINE_PROGRAM], { until: UNTIL, request }));
}

/** The kernel parameters of one emulated CPU on this host. */
export function hostParameters(): string[] {
  const tscKhz = readTscKhz();
  return emulationParameters({ cpus: 1, ...(tscKhz === undefined ? {} : { tscKhz }) });
}

/**
 * Runs the guest on QEMU.
 * @param devices arguments of QEMU for further devices
 * @returns the output of the guest's program
 * @throws Error if the program or the machine failed
 */
export async function runQemu({ initramfs, command, kernel }: GuestRun, devices: readonly string[]): Promise<string> {
  // Without the frequency of the time stamp counter the guest's clock counts timer interrupts, and
  // a busy host loses some of them.
  const words = [baseCommandLine({ devices: [], console: false, reboot: 't' }), ...hostParameters()].join(' ');
  const args = [
    // With room for only one CPU the emulator omits memory barriers, and the queue of a vhost-user
    // device gets stuck sooner or later.
    ['-accel', 'tcg', '-cpu', 'max', '-smp', '1,maxcpus=2', '-m', `${MEMORY}B`],
    ['-M', 'microvm,acpi=off,x-option-roms=off,memory-backend=ram'],
    ['-object', `memory-backend-memfd,id=ram,size=${MEMORY},share=on`],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    [
      '-kernel',
      kernel ?? guestKernel(),
      '-initrd',
      initramfs,
      '-append',
      `${words} loglevel=1 run=${command.join(',')}`,
    ],
    ['-global', 'virtio-mmio.force-legacy=false', ...devices],
  ];
  return outputOf('QEMU', await time('qemu-system-x86_64', args.flat(), { until: UNTIL }));
}
