// The lab: a machine with hardware-like KVM, in software. QEMU's CPU emulator plays an AMD processor with SVM and
// nested paging, under a kernel of kernels/lab.config, on this machine's own files (9p, read and write). So it runs this
// machine's own node and programs, and its /dev/kvm boots unmodified kernels.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { kernelPath } from '../../kernels/index.js';
import { encodeFrame, FrameReader, FrameType } from './frames.js';

/** As many commands run at once as PID 1 has slots (init.c); more wait. */
const SLOTS = 8;
const BOOT_TIMEOUT = 120_000;
/**
 * Without XSAVE: the emulator's SVM seems not to intercept XSETBV, so that guest and host share XCR0; guests, QEMU's own
 * too, warned of inconsistent XSAVE sizes.
 */
const CPU = 'EPYC,+svm,+npt,-xsave,-avx,-avx2,-fma,-f16c';
/** Touched lazily by QEMU: guests of 6 GiB fit, and cost nothing before they use it. */
const MEMORY = '10G';

/** The project's root, from this file's place in test/lab as from its bundle's in dist. */
const project = findProject(dirname(fileURLToPath(import.meta.url)));

function findProject(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findProject(dirname(folder));
}

export interface LabOptions {
  cpus?: number;
}

/**
 * The emulated CPU's time stamp counter is this machine's own, but a kernel can't measure it against an emulated timer
 * while the host is busy; without its frequency KVM_RUN never enters a guest. The kernel derives BogoMIPS from it.
 */
function tscFrequency(): string {
  const bogoMips = /^bogomips\s*:\s*([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  return bogoMips === undefined ? '' : `tsc_early_khz=${Math.round(Number(bogoMips) * 500)}`;
}

function qemuArguments(folder: string, kernel: string, init: string, { cpus = 2 }: LabOptions): string[] {
  const root = 'root=root rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=512000 rw';
  const slots = Array.from({ length: SLOTS }, (_, slot) => [
    ...['-chardev', `socket,id=slot${slot},path=${join(folder, `slot${slot}`)},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=slot${slot},nr=${slot + 1}`],
  ]).flat();
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'microvm,acpi=off,x-option-roms=off,rtc=on,isa-serial=on'],
    ...['-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', CPU, '-smp', String(cpus), '-m', MEMORY],
    ...['-global', 'virtio-mmio.force-legacy=false'],
    ...['-fsdev', 'local,id=root,path=/,security_model=none,multidevs=remap'],
    ...['-device', 'virtio-9p-device,fsdev=root,mount_tag=root'],
    ...['-device', `virtio-serial-device,max_ports=${SLOTS + 1}`, ...slots],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-kernel', kernel],
    ...[
      '-append',
      `console=ttyS0 quiet panic=-1 mitigations=off ${tscFrequency()} ${root} init=${init} LAB_PROJECT=${project}`,
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

/** A client that has a slot, until its command's exit frame. */
interface Session {
  client: Socket;
  slot: Socket;
}

/** A running lab. It ends with the process that started it, however that ends. */
export class Lab implements AsyncDisposable {
  readonly #qemu: ChildProcess;
  readonly #folder: string;
  readonly #broker: Server;
  readonly #free: Socket[] = [];
  readonly #sessions = new Map<Socket, Session>();
  readonly #waiting: Socket[] = [];

  /** Clients connect here: see client.ts. */
  readonly socketPath: string;

  private constructor(qemu: ChildProcess, folder: string) {
    this.#qemu = qemu;
    this.#folder = folder;
    this.socketPath = join(folder, 'lab');
    this.#broker = createServer({ pauseOnConnect: true }, (client) => {
      client.on('error', () => client.destroy());
      this.#waiting.push(client);
      this.#dispatch();
    });
  }

  /** Boots a lab. @throws Error with the console's last words when it does not come up. */
  static async start(options: LabOptions = {}): Promise<Lab> {
    const kernel = kernelPath('lab');
    if (kernel === undefined) throw new Error('the lab has no kernel: run `tsvm kernel build lab`');
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-lab-'));
    const init = join(folder, 'init');
    const consoleFile = join(folder, 'console');
    execFileSync('gcc', ['-O2', '-static', '-o', init, join(project, 'test/lab/init.c')]);
    // The parent-death signal ends QEMU even when this process is killed.
    const argv = ['--pdeathsig', 'KILL', 'qemu-system-x86_64'];
    const qemu = spawn(
      'setpriv',
      [...argv, ...qemuArguments(folder, join(dirname(kernel), 'bzImage'), init, options)],
      {
        stdio: ['ignore', openSync(consoleFile, 'w'), openSync(join(folder, 'stderr'), 'w')],
      },
    );
    const lab = new Lab(qemu, folder);
    try {
      const deadline = Date.now() + BOOT_TIMEOUT;
      for (let slot = 0; slot < SLOTS; slot++) {
        const path = join(folder, `slot${slot}`);
        let connection = await connectTo(path);
        while (connection === undefined) {
          await lab.#wait(deadline);
          connection = await connectTo(path);
        }
        lab.#addSlot(connection);
      }
      while (!readFileSync(consoleFile, 'utf8').includes('lab: ready')) await lab.#wait(deadline);
      await new Promise<void>((resolve) => lab.#broker.listen(lab.socketPath, resolve));
      return lab;
    } catch (error) {
      await lab.stop();
      throw error;
    }
  }

  async #wait(deadline: number): Promise<void> {
    if (this.#qemu.exitCode !== null || Date.now() > deadline) {
      const said = ['stderr', 'console'].map((name) => readFileSync(join(this.#folder, name), 'utf8').slice(-2000));
      throw new Error(`the lab did not come up:\n${said.join('\n')}`);
    }
    await sleep(20);
  }

  /** A slot's connection stays for the lab's life; commands follow each other on it. */
  #addSlot(slot: Socket): void {
    const reader = new FrameReader();
    slot.on('error', () => slot.destroy());
    slot.on('close', () => this.#sessions.get(slot)?.client.destroy());
    slot.on('data', (chunk: Buffer) => {
      for (const { type, payload } of reader.push(chunk)) {
        const client = this.#sessions.get(slot)?.client;
        if (client?.writable && !client.write(encodeFrame(type, payload))) slot.pause();
        if (type === FrameType.exit) {
          this.#sessions.delete(slot);
          this.#free.push(slot);
          slot.resume();
          this.#dispatch();
        }
      }
    });
    this.#free.push(slot);
  }

  /** Gives clients that wait slots that are free. */
  #dispatch(): void {
    while (this.#free.length > 0 && this.#waiting.length > 0) {
      const client = this.#waiting.shift()!;
      if (!client.destroyed) this.#serve({ client, slot: this.#free.shift()! });
    }
  }

  /** Passes whole frames on: a client that breaks off within one harms nobody. */
  #serve(session: Session): void {
    const { client, slot } = session;
    const reader = new FrameReader();
    const isCurrent = () => this.#sessions.get(slot) === session;
    this.#sessions.set(slot, session);
    let started = false;
    client.on('data', (chunk: Buffer) => {
      for (const { type, payload } of reader.push(chunk)) {
        started ||= type === FrameType.start;
        if (isCurrent() && !slot.write(encodeFrame(type, payload))) {
          client.pause();
          slot.once('drain', () => client.resume());
        }
      }
    });
    client.on('drain', () => slot.resume());
    client.on('close', () => {
      if (!isCurrent()) return;
      slot.resume();
      if (started) {
        slot.write(encodeFrame(FrameType.abort));
      } else {
        this.#sessions.delete(slot);
        this.#free.push(slot);
        this.#dispatch();
      }
    });
    client.resume();
  }

  async stop(): Promise<void> {
    this.#broker.close();
    for (const client of this.#waiting) client.destroy();
    this.#qemu.kill('SIGKILL');
    if (this.#qemu.exitCode === null && this.#qemu.signalCode === null) await once(this.#qemu, 'exit');
    for (const slot of [...this.#free, ...this.#sessions.keys()]) slot.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
