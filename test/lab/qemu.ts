// The lab's machine, one QEMU: its arguments, its start, and the connections to the slots of its
// PID 1.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cpio, filesOfPulled, findPulled, kernelPath } from '../../kernels/index.js';

/** `lab` has all built in; `debian-lab` is Debian's, with modules and a function tracer. */
export type LabKernel = 'lab' | 'debian-lab';

/** Options of the root, for mount(8). */
const ROOT = 'trans=virtio,version=9p2000.L,cache=loose,msize=512000';

/** Number of commands that can run at once: the slots of PID 1 (init.c). */
const SLOTS = 8;
/** `ms` for the machine to come up: a second on a quiet host, minutes beside twenty other programs. */
const BOOT_TIMEOUT = 300_000;
/** Characters of the console in an error: from the kernel's first complaint, else the last ones. */
const LAST_WORDS = 8000;
const COMPLAINT = /BUG: |Oops|\bfault\b|panic/;
/**
 * The CPU has no XSAVE. The emulator's SVM seems not to intercept XSETBV, so guest and host share
 * XCR0. Guests, also those of QEMU, warned of inconsistent XSAVE sizes.
 */
const CPU = 'EPYC,+svm,+npt,-xsave,-avx,-avx2,-fma,-f16c';
/**
 * The first CPU serves only interrupts, because of a race in QEMU. Restoring a floating point state
 * on any CPU clears a flag of the first one by a read and a write that are not atomic
 * (`cpu_clear_ignne` of QEMU's target/i386, in 7.2 and in 10.0). If the first CPU enters a guest at
 * that time, the guest loses its nested paging, and the lab's memory is corrupted.
 */
const CPUS = 3;
const SCHEDULED_CPUS = 'isolcpus=0';
/**
 * No random addresses in processes of the lab. QEMU 7.2 finds translated code by its virtual
 * address: with random ones it translates every program anew each time it starts. A container in a
 * microVM takes 5.6 s so, and 7.9 s otherwise. Guests have random addresses.
 */
const SAME_ADDRESSES = 'norandmaps';
/**
 * A kernel whose functions are traced has one CPU. With three, the lab stood still in some runs. The
 * cause seems to be a race in QEMU 7.2, which was not shown: the tracer writes a breakpoint over the start
 * of each function, and QEMU seems to translate the function on one CPU while another one writes to it, and
 * to keep the old translation (`tb_link_page` takes no lock before it), which that CPU then runs forever.
 */
const TRACED_CPUS = 1;
/** Room for guests of 6 GiB. QEMU touches memory lazily, so it costs nothing until it is used. */
const MEMORY = '10G';

/** The project's root. It is found from this file in test/lab and from its bundle in dist. */
const project = findProject(dirname(fileURLToPath(import.meta.url)));

function findProject(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findProject(dirname(folder));
}

/**
 * Returns the kernel parameters of the time stamp counter. The emulated CPU has the counter of the
 * host, in step on all CPUs. The kernel cannot find that out:
 * - It does not trust the counter of an AMD processor that does not promise this. It would then
 *   count ticks, and a busy host loses many of them.
 * - It cannot measure the frequency against an emulated timer. Without the frequency KVM_RUN never
 *   enters a guest.
 */
function timeStampCounter(): string {
  const bogoMips = /^bogomips\s*:\s*([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  // A kernel derives BogoMIPS from the frequency: twice the MHz.
  return bogoMips === undefined ? '' : `tsc=reliable tsc_early_khz=${Math.round(Number(bogoMips) * 500)}`;
}

interface BootFiles {
  kernel: string;
  /** An initial RAM file system with PID 1. Absent: the kernel mounts the root itself. */
  initrd?: string;
}

/** @throws Error if the kernel is not there */
function bootFiles(name: LabKernel, folder: string, init: string): BootFiles {
  if (name === 'lab') {
    const path = kernelPath('lab');
    if (path === undefined) throw new Error('the lab has no kernel: run `tsvm kernel build lab`');
    return { kernel: join(dirname(path), 'bzImage') };
  }
  const pulled = findPulled(name);
  if (pulled === undefined) throw new Error(`the lab has no kernel: run \`tsvm kernel pull ${name}\``);
  const { path, modules } = filesOfPulled(pulled);
  const initrd = join(folder, 'initrd');
  const boot = cpio('boot', [{ name: 'init', bytes: readFileSync(init), isProgram: true }]);
  writeFileSync(initrd, Buffer.concat([readFileSync(modules), boot]));
  return { kernel: path, initrd };
}

function qemuArguments(name: LabKernel, folder: string, { kernel, initrd }: BootFiles, init: string): string[] {
  const [cpus, scheduled] = name === 'lab' ? [CPUS, SCHEDULED_CPUS] : [TRACED_CPUS, ''];
  const boot =
    initrd === undefined
      ? `root=root rootfstype=9p rootflags=${ROOT} rw init=${init}`
      : `rdinit=/boot/init LAB_ROOT=${ROOT}`;
  const slots = Array.from({ length: SLOTS }, (_, slot) => [
    ...['-chardev', `socket,id=slot${slot},path=${join(folder, `slot${slot}`)},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=slot${slot},nr=${slot + 1}`],
  ]).flat();
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    // Debian's kernel finds devices by ACPI alone.
    ...['-machine', `microvm,acpi=${initrd === undefined ? 'off' : 'on'},x-option-roms=off,rtc=on,isa-serial=on`],
    ...['-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', CPU, '-smp', String(cpus), '-m', MEMORY],
    ...['-global', 'virtio-mmio.force-legacy=false'],
    ...['-fsdev', 'local,id=root,path=/,security_model=none,multidevs=remap'],
    ...['-device', 'virtio-9p-device,fsdev=root,mount_tag=root'],
    ...['-device', `virtio-serial-device,max_ports=${SLOTS + 1}`, ...slots],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-kernel', kernel, ...(initrd === undefined ? [] : ['-initrd', initrd])],
    ...[
      '-append',
      `console=ttyS0 quiet panic=-1 reboot=t mitigations=off ${SAME_ADDRESSES} ${scheduled} ${timeStampCounter()} ${boot} LAB_PROJECT=${project}`,
    ],
  ];
}

/** Connects to a unix socket. Resolves to undefined if no process listens there. */
async function connectTo(path: string): Promise<Socket | undefined> {
  const socket = createConnection(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch {
    return undefined;
  }
}

/** A running machine. It ends with the process that started it, however that process ends. */
export class LabMachine {
  readonly #qemu: ChildProcess;
  readonly #folder: string;
  #alive = true;
  /** Connections to the slots of PID 1. They last as long as the machine. */
  readonly slots: Socket[] = [];
  /**
   * Resolves when QEMU has ended, to its exit code or signal and the end of the console's output.
   */
  readonly ended: Promise<string>;

  private constructor(qemu: ChildProcess, folder: string) {
    this.#qemu = qemu;
    this.#folder = folder;
    this.ended = once(qemu, 'exit').then(([code, signal]) => {
      this.#alive = false;
      const words = this.#lastWords();
      rmSync(folder, { recursive: true, force: true });
      return `${signal ?? `exit code ${code}`}\n${words}`;
    });
  }

  /** Boots a machine. @throws Error with the end of the console's output if it does not come up */
  static async start(name: LabKernel): Promise<LabMachine> {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-lab-'));
    const init = join(folder, 'init');
    execFileSync('gcc', ['-O2', '-static', '-o', init, join(project, 'test/lab/init.c')]);
    const files = bootFiles(name, folder, init);
    // The parent-death signal ends QEMU even if this process is killed.
    const argv = ['--pdeathsig', 'KILL', 'qemu-system-x86_64'];
    const qemu = spawn('setpriv', [...argv, ...qemuArguments(name, folder, files, init)], {
      stdio: ['ignore', openSync(join(folder, 'console'), 'w'), openSync(join(folder, 'stderr'), 'w')],
    });
    const machine = new LabMachine(qemu, folder);
    try {
      await Promise.race([machine.#comeUp(), machine.#endedBefore(BOOT_TIMEOUT)]);
      return machine;
    } catch (error) {
      await machine.stop();
      throw error;
    }
  }

  async #comeUp(): Promise<void> {
    for (let slot = 0; slot < SLOTS; slot++) {
      const path = join(this.#folder, `slot${slot}`);
      let connection = await connectTo(path);
      while (connection === undefined && this.#alive) {
        await sleep(20);
        connection = await connectTo(path);
      }
      if (connection !== undefined) this.slots.push(connection);
    }
    while (this.#alive && !readFileSync(join(this.#folder, 'console'), 'utf8').includes('lab: ready')) await sleep(20);
  }

  async #endedBefore(milliseconds: number): Promise<never> {
    const late = sleep(milliseconds, undefined, { ref: false }).then(() => this.#lastWords());
    throw new Error(`the lab did not come up: ${await Promise.race([this.ended, late])}`);
  }

  #lastWords(): string {
    const read = (name: string): string => readFileSync(join(this.#folder, name), 'utf8');
    const [stderr, console] = [read('stderr'), read('console')];
    // At every start QEMU lists the features that the emulated processor lacks.
    const errors = stderr.replaceAll(/^.*TCG doesn't support requested feature.*\n/gm, '');
    const complaint = console.search(COMPLAINT);
    const words = complaint < 0 ? console.slice(-LAST_WORDS) : console.slice(complaint, complaint + LAST_WORDS);
    return errors.slice(-LAST_WORDS) + words;
  }

  async stop(): Promise<void> {
    this.#qemu.kill('SIGKILL');
    await this.ended;
    for (const slot of this.slots) slot.destroy();
  }
}
