// Starts the process that supervises a container in the background (supervisor.ts), and talks to it
// over its descriptor 3 in lines of JSON: which container, when to start it, and the result.
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { Home } from '../home/home.js';
import { programEnvironment, SUPERVISOR_PROGRAM } from '../programs.js';
import type { Fallback } from '../run/run-options.js';
import type { Secrets } from '../spec/secrets.js';
import { ControlClient } from './control-client.js';

/** The orders to the supervisor: one line each, in this order. */
export type SupervisorOrder =
  | {
      type: 'supervise';
      home: string;
      runtime: string;
      id: string;
      resumes: boolean;
      snapshot?: string | undefined;
      layer?: string | undefined;
      rollsBack?: boolean | undefined;
      input?: string | undefined;
      secrets?: Secrets | undefined;
    }
  | { type: 'go' };

export interface StartOptions {
  /** The container is suspended, and continues. @internal */
  resumes?: boolean | undefined;
  /** Path of the saved machine of a snapshot, of which the container is a clone. @internal */
  snapshot?: string | undefined;
  /**
   * Path of a disk in the file system of the home. Once the process runs, it is that of the container's
   * writable layer, in place of the one before. With `snapshot`.
   * @internal
   */
  layer?: string | undefined;
  /** With `snapshot`: the container may be suspended. What was saved is lost once the process runs. @internal */
  rollsBack?: boolean | undefined;
  /**
   * Absolute path of a file that the container's process reads as its stdin, to the end. Its `stdin`
   * must be true. Default: what clients that attach send.
   */
  input?: string | undefined;
  /**
   * Variables and files of this start alone. They are in the memory of its supervisor and its machine,
   * and in no record: another start needs them again.
   */
  secrets?: Secrets | undefined;
  /**
   * Called when clients can attach. The container's process starts after the returned promise
   * resolves.
   */
  onListening?: (() => Promise<void>) | undefined;
  /** Called if the accelerator is `auto` and the machine is not on KVM. */
  onFallback?: ((fallback: Fallback) => void) | undefined;
  /**
   * Called with how many CPUs are emulated, if several are: one may run what another has changed.
   */
  onEmulatedCpus?: ((cpus: number) => void) | undefined;
  /** Called with the reason if an optional network failed to come up. */
  onNoNetwork?: ((reason: string) => void) | undefined;
}

/**
 * A supervisor process. It may start before its container is known. Disposing of it ends one
 * without a container.
 */
export class SupervisorProcess implements Disposable {
  readonly #socket: Socket;
  readonly #replies: ControlClient;

  constructor() {
    // The root folder as working directory keeps no file system busy.
    const child = spawn(process.execPath, [SUPERVISOR_PROGRAM], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      detached: true,
      cwd: '/',
      env: programEnvironment(),
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
   * @throws SandboxError the reason that it could not be started
   */
  async start({ home, folder }: { home: Home; folder: ContainerFolder }, options: StartOptions = {}): Promise<void> {
    const { onListening, resumes = false, snapshot, layer, rollsBack, input, secrets } = options;
    const { path, runtime } = home;
    const how = { resumes, snapshot, layer, rollsBack, input, secrets };
    this.#send({ type: 'supervise', home: path, runtime, id: folder.id, ...how });
    if (onListening !== undefined) {
      await this.#expect('done', options);
      await onListening();
    }
    this.#send({ type: 'go' });
    if (onListening === undefined) await this.#expect('done', options);
    await this.#expect('started', options);
    this[Symbol.dispose]();
  }

  async #expect(type: 'done' | 'started', { onFallback, onEmulatedCpus, onNoNetwork }: StartOptions): Promise<void> {
    for (;;) {
      const reply = await this.#replies.next();
      if (reply?.type === type) return;
      if (reply?.type !== 'warning') {
        throw new SandboxError('state', "the container's supervisor died as it was started");
      }
      if (reply.of === 'fallback') onFallback?.(reply);
      else if (reply.of === 'cpus') onEmulatedCpus?.(reply.cpus);
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
