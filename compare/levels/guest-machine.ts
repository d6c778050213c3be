// What the levels of other virtual machine monitors share: a disk with the image's files, an initial
// RAM file system whose first process is the gauge, the kernel's command line, and the server of the
// host's folder.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtFile } from '../../installation/index.js';
import { type BootKernel, cpio, filesOfPulled, findPulled, kernelPath } from '../../kernels/index.js';
import { findProgram } from '../../programs/index.js';
import { probeMachine } from '../../sandbox/machines.js';
import { CompareError } from '../errors.js';
import { type Bundle, type CommandLine, environmentOf, type Missing } from '../level.js';
import { run, succeeded } from '../running.js';
import { isRoot } from './mounts.js';

/** `guest`: of this project, with virtio-mmio built in. `debian`: of the distribution, with PCI and modules. */
export type GuestKernel = 'guest' | 'debian';

/** The tag of the host's folder (virtio-fs). */
export const TAG = 'folder';
/** Where distributions keep virtiofsd, which is on no PATH. */
const SERVERS = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd'];
/** Of the disk, beside its files: inodes and tables. */
const DISK_OVERHEAD = 1.3;
const LEAST_DISK = 32 * 2 ** 20;

function findKernel(kernel: GuestKernel): BootKernel | undefined {
  if (kernel === 'guest') {
    const path = kernelPath('guest');
    return path === undefined ? undefined : { path };
  }
  const found = findPulled('debian-pci');
  return found === undefined ? undefined : filesOfPulled(found);
}

/** What of the parts in this file the host lacks. */
export function missingParts(kernel: GuestKernel): Missing | undefined {
  if (findProgram('mkfs.ext4') === undefined) {
    return { reason: 'mkfs.ext4 is not installed', advice: 'apt-get install e2fsprogs' };
  }
  if (findKernel(kernel) !== undefined) return undefined;
  return kernel === 'guest'
    ? { reason: 'there is no kernel for its guest', advice: 'tsvm kernel build' }
    : { reason: "there is no kernel of Debian's for its guest", advice: 'tsvm kernel pull debian-pci' };
}

/** What a monitor lacks that needs KVM. @param repository of its releases, which Debian does not have */
export async function missingMonitor(
  program: string,
  repository: string,
  kernel: GuestKernel,
): Promise<Missing | undefined> {
  if (findProgram(program) === undefined) {
    const advice = `a program of https://github.com/${repository}/releases, on PATH`;
    return { reason: `${program} is not installed`, advice };
  }
  const { usable, reason } = await probeMachine();
  return usable ? missingParts(kernel) : { reason };
}

/** Paths of the host. */
export interface GuestFiles {
  kernel: string;
  /** An initial RAM file system. */
  initrd: string;
  /** ext4, for reading alone. */
  disk: string;
}

/**
 * Makes what all sandboxes of a level boot.
 * @throws CompareError `level`; the reason of `signal`
 */
export async function makeGuestFiles(
  { rootfs, folder, config }: Bundle,
  wanted: GuestKernel,
  signal: AbortSignal,
): Promise<GuestFiles> {
  const kernel = findKernel(wanted);
  if (kernel === undefined) throw new CompareError('level', 'there is no kernel for its guest');
  const files = { kernel: kernel.path, initrd: join(folder, 'initrd'), disk: join(folder, 'disk') };
  const variables = Object.entries(environmentOf(config)).map(([name, value]) => `${name}=${value}\0`);
  const boot = cpio('boot', [
    { name: 'gauge', bytes: readFileSync(builtFile('tsvm-gauge')), isProgram: true },
    { name: 'environment', bytes: Buffer.from(variables.join('')) },
  ]);
  const modules = kernel.modules === undefined ? [] : [readFileSync(kernel.modules)];
  writeFileSync(files.initrd, Buffer.concat([...modules, boot]));
  const { env } = process;
  const used = await run({ words: ['du', '--summarize', '--block-size=1', rootfs], env }, signal);
  succeeded(used);
  const size = Math.max(LEAST_DISK, Math.ceil(Number.parseInt(used.stdout, 10) * DISK_OVERHEAD));
  const options = ['-q', '-F', '-O', '^has_journal', '-m', '0', '-d', rootfs];
  const made = await run({ words: ['mkfs.ext4', ...options, files.disk, `${Math.ceil(size / 1024)}k`], env }, signal);
  if (made.code !== 0) throw new CompareError('level', `mkfs.ext4 failed: ${made.why}`);
  return files;
}

export interface BootWords {
  kernel: GuestKernel;
  /** Where the gauge serves: `port:NAME` or `vsock:PORT`. */
  channel: string;
  command: readonly string[];
  /** True if the guest has the host's folder. */
  hasFolder: boolean;
  /** The frequency of the host's TSC, for a guest that is emulated and has no other way to know it. */
  tscKhz?: number | undefined;
  /** How the guest restarts or ends, in the words of the kernel's `reboot=`; `off`: by ACPI. */
  end: 'k' | 't' | 'off';
}

/**
 * The tuned kernel has no clock that could check the TSC, and would count ticks. Each would take the
 * late timer interrupts of an emulator on a busy host for those of a broken IO-APIC, and panic.
 */
const CLOCK: Record<GuestKernel, readonly string[]> = {
  guest: ['tsc=reliable', 'no_timer_check'],
  debian: ['no_timer_check'],
};

/**
 * The kernel's command line.
 * @throws CompareError `level` for a command that it cannot have
 */
export function kernelWords({ kernel, channel, command, hasFolder, end, tscKhz }: BootWords): string {
  const bad = command.find((word) => !/^[\w./-]+$/.test(word));
  if (bad !== undefined) throw new CompareError('level', `its first command cannot have ${JSON.stringify(bad)}`);
  return [
    ...['console=ttyS0', 'loglevel=1', 'panic=-1', 'rdinit=/boot/gauge', ...CLOCK[kernel]],
    ...(tscKhz === undefined ? [] : [`tsc_early_khz=${tscKhz}`]),
    ...(end === 'off' ? ['GAUGE_END=off'] : [`reboot=${end}`]),
    ...[`GAUGE_CHANNEL=${channel}`, `GAUGE_COMMAND=${command.join()}`],
    ...(hasFolder ? [`GAUGE_FOLDER=${TAG}`] : []),
  ].join(' ');
}

/** What the gauge, the guest's kernel or the monitor says last; the server of the folder has a word after that. */
export const FAILURE = /^((?:tsvm-gauge|qemu-system-x86_64|cloud-hypervisor): .+|.*Kernel panic.+?)\r?$/;

/** A server of the host's folder: its program, or why the host has none. */
export function findFolderServer(): { program: string } | { reason: string } {
  const program = findProgram('virtiofsd') ?? SERVERS.find((path) => existsSync(path));
  if (program === undefined) return { reason: 'virtiofsd is not installed' };
  return isRoot() ? { program } : { reason: 'virtiofsd shares folders for root alone' };
}

/** Starts the server $1 on the socket $2 for the folder $3, which ends with the rest, a command. */
const SERVING = `setpriv --pdeathsig KILL -- "$1" --socket-path="$2" -o source="$3" -o log_level=err >&2 &
turn=0
while [ ! -S "$2" ] && [ $turn -lt 500 ]; do turn=$((turn + 1)); sleep 0.01; done
shift 3; exec "$@"`;

/** The same command, beside a server of the folder. */
export function besideFolderServer(
  { words, ...command }: CommandLine,
  program: string,
  socket: string,
  shared: string,
): CommandLine {
  return { ...command, words: ['sh', '-c', SERVING, 'sh', program, socket, shared, ...words] };
}
