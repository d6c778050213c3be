// The lab: a machine whose KVM works like that of hardware, in software. QEMU emulates an AMD
// processor with SVM and nested paging. The kernel is that of kernels/lab.config, or Debian's, which
// has a function tracer. The root file system is the host's own (9p, read and write), so the lab runs
// the host's own node and programs, and its /dev/kvm boots unmodified kernels. This file is the entry
// to the lab: a socket whose clients (client.ts) get slots of a machine (qemu.ts).
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../errors/index.js';
import { encodeFrame, FrameReader, FrameType } from './frames.js';
import { type LabKernel, LabMachine } from './qemu.js';

/** A client and its slot, until the exit frame of its command. */
interface Session {
  client: Socket;
  slot: Socket;
}

/** Number of machines that may die before the lab gives up. */
const SPARE_MACHINES = 5;

/**
 * A running lab. It ends with the process that started it, however that process ends. If its
 * machine dies, the lab reports that on stderr and boots another one. Commands that ran in the old
 * machine fail. Waiting ones run in the new one.
 */
export class Lab implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'tsvm-lab-'));
  readonly #broker: Server;
  #free: Socket[] = [];
  readonly #sessions = new Map<Socket, Session>();
  readonly #waiting: Socket[] = [];
  #machine: LabMachine | undefined;
  #booted: Promise<void> | undefined;
  #spare = SPARE_MACHINES;
  #stopping = false;

  /** The socket for clients: see client.ts. */
  readonly socketPath = join(this.#folder, 'lab');

  private constructor(readonly kernel: LabKernel) {
    this.#broker = createServer({ pauseOnConnect: true }, (client) => {
      client.on('error', () => client.destroy());
      this.#waiting.push(client);
      if (this.#booted === undefined) this.#bootFirst().catch((error) => this.#giveUp(error));
      this.#dispatch();
    });
  }

  /** Boots a lab. @throws Error with the end of the console's output if the lab does not come up */
  static async start(kernel: LabKernel = 'lab'): Promise<Lab> {
    const lab = await Lab.onDemand(kernel);
    try {
      await lab.#bootFirst();
      return lab;
    } catch (error) {
      await lab.stop();
      throw error;
    }
  }

  /** Returns a lab that boots when its first client connects. */
  static async onDemand(kernel: LabKernel = 'lab'): Promise<Lab> {
    const lab = new Lab(kernel);
    await new Promise<void>((resolve) => lab.#broker.listen(lab.socketPath, resolve));
    return lab;
  }

  async #bootFirst(): Promise<void> {
    this.#booted = this.#boot();
    await this.#booted;
    this.#dispatch();
  }

  async #boot(): Promise<void> {
    const machine = await LabMachine.start(this.kernel);
    this.#machine = machine;
    for (const slot of machine.slots) this.#addSlot(slot);
    machine.ended.then((how) => this.#bootAgain(how));
  }

  async #bootAgain(how: string): Promise<void> {
    if (this.#stopping) return;
    console.error(`lab: its machine died: ${how}`);
    for (const { client } of this.#sessions.values()) client.destroy();
    this.#sessions.clear();
    try {
      if (this.#spare-- === 0) throw new Error(`${SPARE_MACHINES} machines died before`);
      await this.#boot();
      if (this.#stopping) await this.#machine?.stop();
      else this.#dispatch();
    } catch (error) {
      this.#giveUp(error);
    }
  }

  #giveUp(error: unknown): void {
    console.error(`lab: no machine boots: ${messageOf(error)}`);
    this.#broker.on('connection', (client: Socket) => client.destroy());
    for (const client of this.#waiting) client.destroy();
  }

  /**
   * Adds a slot. Its connection lasts as long as its machine and carries one command after another.
   */
  #addSlot(slot: Socket): void {
    const reader = new FrameReader();
    slot.on('error', () => slot.destroy());
    slot.on('close', () => {
      // The machine is gone, and with it all other slots.
      this.#free = [];
      this.#sessions.get(slot)?.client.destroy();
    });
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

  /** Gives free slots to waiting clients. */
  #dispatch(): void {
    while (this.#free.length > 0 && this.#waiting.length > 0) {
      const client = this.#waiting.shift()!;
      if (!client.destroyed) this.#serve({ client, slot: this.#free.shift()! });
    }
  }

  /** Passes on complete frames only, so a client that disconnects within a frame does no harm. */
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
    this.#stopping = true;
    this.#broker.close();
    for (const client of this.#waiting) client.destroy();
    await this.#booted?.catch(() => {});
    await this.#machine?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
