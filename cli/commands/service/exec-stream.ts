// A command in a sandbox of a service, whose streams are the messages of a WebSocket
// (docs/serve.md, "A command with streams").
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Readable, Writable } from 'node:stream';
import { type RawData, WebSocket } from 'ws';
import type { TerminalSize } from '../../../sandbox/internal.js';
import type { Foreground } from '../../foreground/terminal.js';
import { ClientError, RefusedError, type ServiceClient } from './client.js';

const PROTOCOL = 'exec.v1.tsvm';
const CHANNELS = { stdin: 0, stdout: 1, stderr: 2, status: 3, resize: 4, signal: 5, close: 255 } as const;
/** Milliseconds without a message or a ping of the service, which sends one every 15 s. */
const SILENCE = 60_000;
/** Bytes of a message, and of one that this sends. */
const MAX_MESSAGE = 2 ** 20;
const MAX_INPUT = 2 ** 16;

/** What the service takes as the first message. */
export interface RemoteCommand {
  command: string[];
  env?: object;
  cwd?: string;
  user?: string;
  stdin?: boolean;
  terminal?: TerminalSize;
  timeout?: number;
}

export interface RemoteStreams {
  stdin?: Readable | undefined;
  stdout: Writable;
  stderr: Writable;
}

export interface RemoteStatus {
  exitCode: number;
  timedOut: boolean;
}

/** A command of a sandbox in the foreground. It is killed when its connection ends. */
export class RemoteExec implements Foreground {
  readonly started = Promise.resolve();
  /** Rejects with a ClientError if it is not known how it ended, or with the error of `abort`. */
  readonly exit: Promise<RemoteStatus>;
  outputChunks = 0;
  readonly #socket: WebSocket;
  readonly #silence: NodeJS.Timeout;
  #failure: Error | undefined;

  private constructor(socket: WebSocket, streams: RemoteStreams) {
    this.#socket = socket;
    this.#silence = setTimeout(() => {
      if (socket.isPaused) this.#silence.refresh();
      else this.abort(new ClientError(`the service has sent nothing for ${SILENCE / 1000} s`));
    }, SILENCE);
    socket.on('ping', () => this.#silence.refresh());
    this.exit = this.#follow(streams).finally(() => {
      clearTimeout(this.#silence);
      socket.terminate();
    });
    socket.resume();
    if (streams.stdin !== undefined) this.#feed(streams.stdin);
  }

  /**
   * Starts a command.
   * @param path of the sandbox
   * @throws ClientError if the service refuses, or is not there
   */
  static async start(
    client: ServiceClient,
    path: string,
    command: RemoteCommand,
    streams: RemoteStreams,
  ): Promise<RemoteExec> {
    const { url, headers } = client.socketAt(`${path}/exec`);
    const socket = new WebSocket(url, PROTOCOL, {
      ...{ headers, handshakeTimeout: SILENCE, maxPayload: MAX_MESSAGE, perMessageDeflate: false },
    });
    // What comes with the opening waits for the listeners.
    socket.once('open', () => socket.pause());
    const refused = new Promise<never>((_, reject) => {
      socket.once('unexpected-response', (_request, answer: IncomingMessage) => {
        RefusedError.of(answer).then(reject);
      });
    });
    try {
      await Promise.race([once(socket, 'open'), refused]);
    } catch (error) {
      socket.on('error', () => {}).terminate();
      throw error instanceof RefusedError ? error : client.unreachable(error);
    }
    socket.send(JSON.stringify(command));
    return new RemoteExec(socket, streams);
  }

  signal(signal: number): void {
    this.#tell(CHANNELS.signal, { signal });
  }

  resize({ columns, rows }: TerminalSize): void {
    this.#tell(CHANNELS.resize, { Width: columns, Height: rows });
  }

  abort(error: Error): void {
    this.#failure ??= error;
    this.#socket.terminate();
  }

  #tell(channel: number, message: object): void {
    this.#send(channel, Buffer.from(JSON.stringify(message)));
  }

  /** Resolves when it has left, or cannot. */
  #send(channel: number, data: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.send(Buffer.concat([Buffer.of(channel), data]), () => resolve());
    });
  }

  /** The input at the pace of the program, up to its end. */
  async #feed(input: Readable): Promise<void> {
    try {
      for await (const chunk of input) {
        const bytes = chunk as Buffer;
        for (let at = 0; at < bytes.length; at += MAX_INPUT) {
          await this.#send(CHANNELS.stdin, bytes.subarray(at, at + MAX_INPUT));
        }
      }
    } catch {
      // Input that cannot be read has ended.
    }
    await this.#send(CHANNELS.close, Buffer.of(CHANNELS.stdin));
  }

  #follow({ stdout, stderr }: RemoteStreams): Promise<RemoteStatus> {
    return new Promise((resolve, reject) => {
      this.#socket.on('error', (error) => {
        this.#failure ??= new ClientError(`the connection to the service broke off: ${error.message}`);
      });
      this.#socket.once('close', () => {
        reject(this.#failure ?? new ClientError('the connection to the service broke off'));
      });
      this.#socket.on('message', (message: RawData) => {
        this.#silence.refresh();
        const bytes = message as Buffer;
        const data = bytes.subarray(1);
        if (bytes[0] === CHANNELS.stdout) this.#print(stdout, data);
        else if (bytes[0] === CHANNELS.stderr) this.#print(stderr, data);
        else if (bytes[0] === CHANNELS.status) {
          try {
            resolve(statusOf(data));
          } catch (error) {
            reject(error);
          }
        }
      });
    });
  }

  /** No more is read while the reader of the output takes nothing. */
  #print(output: Writable, data: Buffer): void {
    this.outputChunks++;
    if (output.write(data) || this.#socket.isPaused) return;
    this.#socket.pause();
    output.once('drain', () => this.#socket.resume());
  }
}

/** @throws ClientError if the service tells of no end of a command */
function statusOf(data: Buffer): RemoteStatus {
  let told: { exitCode?: unknown; timedOut?: unknown; detail?: unknown; status?: unknown };
  try {
    told = JSON.parse(data.toString()) ?? {};
  } catch {
    throw new ClientError('the service has told no exit code');
  }
  const { exitCode, timedOut, detail, status } = told;
  if (typeof exitCode === 'number') return { exitCode, timedOut: timedOut === true };
  throw new RefusedError(typeof detail === 'string' ? detail : 'the service has told no exit code', Number(status));
}
