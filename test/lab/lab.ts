// The lab: a machine with hardware-like KVM, in software. QEMU's CPU emulator plays an AMD processor with SVM and
// nested paging, under a kernel of kernels/lab.config, on this machine's own files (9p, read and write). So it runs this
// machine's own node and programs, and its /dev/kvm boots unmodified kernels. This is its door: a socket whose clients
// (client.ts) get slots of a machine (qemu.ts).
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../errors/index.js';
import { encodeFrame, FrameReader, FrameType } from './frames.js';
import { LabMachine } from './qemu.js';

/** A client that has a slot, until its command's exit frame. */
interface Session {
  client: Socket;
  slot: Socket;
}

/** Machines that may die before the lab gives up. */
const SPARE_MACHINES = 5;

/**
 * A running lab. It ends with the process that started it, however that ends. A machine that dies is told on
 * stderr and followed by another. Commands that ran in it fail; those that wait go on.
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

  /** Clients connect here: see client.ts. */
  readonly socketPath = join(this.#folder, 'lab');

  private constructor() {
    this.#broker = createServer({ pauseOnConnect: true }, (client) => {
      client.on('error', () => client.destroy());
      this.#waiting.push(client);
      if (this.#booted === undefined) this.#bootFirst().catch((error) => this.#giveUp(error));
      this.#dispatch();
    });
  }

  /** Boots a lab. @throws Error with the console's last words when it does not come up. */
  static async start(): Promise<Lab> {
    const lab = await Lab.onDemand();
    try {
      await lab.#bootFirst();
      return lab;
    } catch (error) {
      await lab.stop();
      throw error;
    }
  }

  /** A lab that boots when its first client connects. */
  static async onDemand(): Promise<Lab> {
    const lab = new Lab();
    await new Promise<void>((resolve) => lab.#broker.listen(lab.socketPath, resolve));
    return lab;
  }

  async #bootFirst(): Promise<void> {
    this.#booted = this.#boot();
    await this.#booted;
    this.#dispatch();
  }

  async #boot(): Promise<void> {
    const machine = await LabMachine.start();
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

  /** A slot's connection stays for the lab's life; commands follow each other on it. */
  #addSlot(slot: Socket): void {
    const reader = new FrameReader();
    slot.on('error', () => slot.destroy());
    slot.on('close', () => {
      // Its machine is gone, and so are the others.
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
