// The process that supervises a container in the background, as who starts it sees it. They talk over descriptor 3, in
// lines of JSON: which container, when to go, and what came of it.
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { Home } from '../home/home.js';
import { SUPERVISOR_PROGRAM } from '../programs.js';
import { ControlClient } from './control-client.js';

/** What the supervisor reads: one line each, in this order. */
export type SupervisorOrder = { type: 'supervise'; home: string; runtime: string; id: string } | { type: 'go' };

export interface StartOptions {
  /** Called when the container can be attached to; nothing runs in it before this resolves. */
  onListening?: (() => Promise<void>) | undefined;
  /** Told why the machine is emulated, where the spec's accelerator is `auto`. */
  onFallback?: ((reason: string) => void) | undefined;
  /** Told why the container has no network, where none was asked for. */
  onNoNetwork?: ((reason: string) => void) | undefined;
}

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
    const control = child.stdio[3];
    if (!(control instanceof Socket)) throw new TypeError('the child process has no pipes');
    this.#socket = control;
    this.#socket.on('error', () => {});
    this.#replies = new ControlClient(this.#socket);
  }

  /**
   * Starts the container; resolves when its process runs.
   *
   * @throws SandboxError what kept it from being started
   */
  async start({ home, folder }: { home: Home; folder: ContainerFolder }, options: StartOptions = {}): Promise<void> {
    const { onListening } = options;
    this.#send({ type: 'supervise', home: home.path, runtime: home.runtime, id: folder.id });
    if (onListening !== undefined) {
      await this.#expect('done', options);
      await onListening();
    }
    this.#send({ type: 'go' });
    if (onListening === undefined) await this.#expect('done', options);
    await this.#expect('started', options);
    this[Symbol.dispose]();
  }

  async #expect(type: 'done' | 'started', { onFallback, onNoNetwork }: StartOptions): Promise<void> {
    for (;;) {
      const reply = await this.#replies.next();
      if (reply?.type === type) return;
      if (reply?.type !== 'warning') {
        throw new SandboxError('state', "the container's supervisor died as it was started");
      }
      if (reply.of === 'fallback') onFallback?.(reply.reason);
      else onNoNetwork?.(reply.reason);
    }
  }

  #send(order: SupervisorOrder): void {
    this.#socket.write(`${JSON.stringify(order)}\n`);
  }

  [Symbol.dispose](): void {
    this.#replies[Symbol.dispose]();
  }
}
