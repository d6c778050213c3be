// The server's side of a WebSocket: it sends as its client reads, and ends with a client that is gone.
import type { WebSocket } from 'ws';
import type { ReaderTimes } from './event-stream.js';

/** Bytes that wait for a client who sends pings and reads nothing. */
const MAX_WAITING = 65_536;

/** What sends to a client, one message at a time, and ends a connection whose client is gone. */
export class Link implements Disposable {
  readonly #socket: WebSocket;
  readonly #timer: NodeJS.Timeout;
  /** When the message was sent that the client has not taken. */
  #since: number | undefined;
  #hasAnswered = true;
  /** Bytes of the message that is being sent. */
  #sending = 0;

  constructor(socket: WebSocket, { beat, stall }: ReaderTimes) {
    this.#socket = socket;
    const isHere = () => {
      this.#hasAnswered = true;
    };
    socket.on('message', isHere);
    socket.on('pong', isHere);
    socket.on('ping', (data) => {
      isHere();
      if (socket.bufferedAmount > this.#sending + MAX_WAITING) socket.terminate();
      else socket.pong(data);
    });
    this.#timer = setInterval(() => this.#check(stall), Math.min(beat, stall));
    socket.once('close', () => clearInterval(this.#timer));
  }

  /** Resolves when the client's side has taken it, or is gone. */
  async send(message: Buffer): Promise<void> {
    this.#since = performance.now();
    this.#sending = message.length;
    await new Promise<void>((resolve) => this.#socket.send(message, () => resolve()));
    this.#since = undefined;
    this.#sending = 0;
  }

  /** The answers to pings of a client whose messages wait are not read. */
  #check(stall: number): void {
    const isStalled = this.#since !== undefined && performance.now() - this.#since > stall;
    if (isStalled || !(this.#hasAnswered || this.#socket.isPaused)) {
      this.#socket.terminate();
      return;
    }
    this.#hasAnswered = false;
    this.#socket.ping();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
