// One QEMU that is the lab's machine: its arguments, its start, and the connections to the slots of its PID 1.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { kernelPath } from '../../kernels/index.js';

/** As many commands run at once as PID 1 has slots (init.c). */
const SLOTS = 8;
/** Milliseconds. */
const BOOT_TIMEOUT = 120_000;
/** Characters that explain a death: of the console, from the kernel's first complaint. */
const LAST_WORDS = 8000;
const COMPLAINT = /BUG: |Oops|\bfault\b|panic/;
/**
 * Without XSAVE: the emulator's SVM seems not to intercept XSETBV, so that guest and host share XCR0; guests, QEMU's own
 * too, warned of inconsistent XSAVE sizes.
 */
const CPU = 'EPYC,+svm,+npt,-xsave,-avx,-avx2,-fma,-f16c';
/**
 * The first CPU is left to interrupts: whoever restores a floating point state on any CPU clears a flag of the first one
 * (`cpu_clear_ignne` of QEMU's target/i386, in 7.2 as in 10.0) by a read and a write that are not atomic. A guest that
 * the first CPU enters at that time loses its nested paging, and with it the lab its memory.
 */
const CPUS = 3;
const SCHEDULED_CPUS = 'isolcpus=0';
/** Touched lazily by QEMU: guests of 6 GiB fit, and cost nothing before they use it. */
const MEMORY = '10G';

/** The project's root, from this file's place in test/lab as from its bundle's in dist. */
const project = findProject(dirname(fileURLToPath(import.meta.url)));

function findProject(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findProject(dirname(folder));
}

/**
 * The emulated CPU's time stamp counter is this machine's own, in step on all CPUs. The kernel can't tell: it does not
 * trust an AMD processor that does not promise it, and would then count ticks, of which a busy host loses many; and it
 * can't measure the frequency against an emulated timer. Without the frequency KVM_RUN never enters a guest.
 */
function timeStampCounter(): string {
  const bogoMips = /^bogomips\s*:\s*([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  // A kernel derives BogoMIPS from the frequency: twice its MHz.
  return bogoMips === undefined ? '' : `tsc=reliable tsc_early_khz=${Math.round(Number(bogoMips) * 500)}`;
}

function qemuArguments(folder: string, kernel: string, init: string): string[] {
  const root = 'root=root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000 rw';
  const slots = Array.from({ length: SLOTS }, (_, slot) => [
    ...['-chardev', `socket,id=slot${slot},path=${join(folder, `slot${slot}`)},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=slot${slot},nr=${slot + 1}`],
  ]).flat();
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'microvm,acpi=off,x-option-roms=off,rtc=on,isa-serial=on'],
    ...['-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', CPU, '-smp', String(CPUS), '-m', MEMORY],
    ...['-global', 'virtio-mmio.force-legacy=false'],
    ...['-fsdev', 'local,id=root,path=/,security_model=none,multidevs=remap'],
    ...['-device', 'virtio-9p-device,fsdev=root,mount_tag=root'],
    ...['-device', `virtio-serial-device,max_ports=${SLOTS + 1}`, ...slots],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-kernel', kernel],
    ...[
      '-append',
      `console=ttyS0 quiet panic=-1 reboot=t mitigations=off ${SCHEDULED_CPUS} ${timeStampCounter()} ${root} init=${init} LAB_PROJECT=${project}`,
    ],
  ];
}

/** A connection to a unix socket, or undefined while nobody listens there. */
async function connectTo(path: string): Promise<Socket | undefined> {
  const socket = createConnection(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch {
    return undefined;
  }
}

/** A machine that is up. It ends with the process that started it, however that ends. */
export class LabMachine {
  readonly #qemu: ChildProcess;
  readonly #folder: string;
  #alive = true;
  /** Connections to PID 1's slots, which stay for the machine's life. */
  readonly slots: Socket[] = [];
  /** Resolves when QEMU is gone, with how it ended and the console's last words. */
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

  /** Boots a machine. @throws Error with the console's last words when it does not come up. */
  static async start(): Promise<LabMachine> {
    const kernel = kernelPath('lab');
    if (kernel === undefined) throw new Error('the lab has no kernel: run `tsvm kernel build lab`');
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-lab-'));
    const init = join(folder, 'init');
    execFileSync('gcc', ['-O2', '-static', '-o', init, join(project, 'test/lab/init.c')]);
    // The parent-death signal ends QEMU even when this process is killed.
    const argv = ['--pdeathsig', 'KILL', 'qemu-system-x86_64'];
    const qemu = spawn('setpriv', [...argv, ...qemuArguments(folder, join(dirname(kernel), 'bzImage'), init)], {
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
    // QEMU lists each time what the emulated processor lacks.
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
