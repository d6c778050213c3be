// The process that supervises a container in the background, as who starts it sees it. They talk over descriptor 3, in
// lines of JSON: which container, when to go, and what came of it.
import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { SandboxError } from '../errors.js';
import { SUPERVISOR_PROGRAM } from '../programs.js';
import { ControlClient } from './control-client.js';
import type { ContainerFolder } from './folder.js';

/** What the supervisor reads: one line each, in this order. */
export type SupervisorOrder = { type: 'supervise'; home: string; id: string } | { type: 'go' };

/** A supervisor that is started, perhaps before it is known what for. Disposing of it ends one that has nothing to do. */
export class SupervisorProcess implements Disposable {
  readonly #socket: Socket;
  readonly #replies: ControlClient;

  constructor() {
    // Its folder is none that anybody may want to unmount, its streams are nobody's.
    const child = spawn(process.execPath, [SUPERVISOR_PROGRAM], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      detached: true,
      cwd: '/',
    });
    child.on('error', () => {});
    child.unref();
    this.#socket = child.stdio[3] as Socket;
    this.#socket.on('error', () => {});
    this.#replies = new ControlClient(this.#socket);
  }

  /**
   * Starts the container; resolves when its process runs.
   *
   * @param onListening called when the container can be attached to, and waited for before anything runs in it
   * @throws SandboxError what kept it from being started
   */
  async start({ home, id }: ContainerFolder, onListening?: () => Promise<void>): Promise<void> {
    this.#send({ type: 'supervise', home, id });
    if (onListening !== undefined) {
      await this.#expect('done');
      await onListening();
    }
    this.#send({ type: 'go' });
    if (onListening === undefined) await this.#expect('done');
    await this.#expect('started');
    this[Symbol.dispose]();
  }

  async #expect(type: 'done' | 'started'): Promise<void> {
    if ((await this.#replies.next())?.type !== type) {
      throw new SandboxError('state', "the container's supervisor died as it was started");
    }
  }

  #send(order: SupervisorOrder): void {
    this.#socket.write(`${JSON.stringify(order)}\n`);
  }

  [Symbol.dispose](): void {
    this.#replies[Symbol.dispose]();
  }
}
