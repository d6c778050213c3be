// The connections that the agent's tool `listen` carries over its two streams
// (guest-agent/PROTOCOL.md, "Connections of listen"). The guest is hostile: it may send any bytes.
import { Duplex, type Writable } from 'node:stream';
import { GatheredBytes } from '../../bytes/index.js';
import { SandboxError } from '../errors.js';

/** Bytes of a frame: the ID of its connection and a length. */
const HEADER = 8;
/** Bytes in a frame. */
const MAX_FRAME = 65_536;
const MAX_CONNECTIONS = 16;
/** Bytes of a connection that nobody has read. One that has more is closed. */
const MAX_UNREAD = 512 << 10;
/** Ends of connections on their way to the guest. One that reads them has a few. */
const MAX_UNTAKEN = 1024;

export interface MultiplexerOptions {
  /** Takes the frames for the guest. */
  output: Writable;
  /** Called once the guest listens. */
  onListening(): void;
  /** Called with each connection. Its owner ends or destroys it. */
  onConnection(connection: Duplex): void;
}

export class Multiplexer {
  readonly #options: MultiplexerOptions;
  readonly #connections = new Map<number, GuestConnection>();
  readonly #header = Buffer.alloc(HEADER);
  /** Bytes of the header that have come. */
  #at = 0;
  /** Bytes of the frame that are still to come. */
  #left = 0;
  #id = 0;
  #lastId = 0;
  /** Ends of connections that the guest has not taken yet. */
  #untaken = 0;
  #isListening = false;

  constructor(options: MultiplexerOptions) {
    this.#options = options;
  }

  /**
   * Takes bytes of the guest.
   * @throws SandboxError `agent` for what breaks the protocol
   */
  push(chunk: Buffer): void {
    for (let rest = chunk; rest.length > 0; ) {
      if (this.#left > 0) {
        const bytes = rest.subarray(0, this.#left);
        this.#left -= bytes.length;
        this.#connections.get(this.#id)?.receive(bytes);
        rest = rest.subarray(bytes.length);
        continue;
      }
      const taken = rest.copy(this.#header, this.#at, 0, HEADER - this.#at);
      this.#at += taken;
      rest = rest.subarray(taken);
      if (this.#at < HEADER) return;
      this.#at = 0;
      this.#begin(this.#header.readUInt32BE(0), this.#header.readUInt32BE(4));
    }
  }

  /** The guest sends no more: all connections break off. */
  end(): void {
    for (const connection of this.#connections.values())
      connection.destroy(new SandboxError('agent', 'the guest left'));
  }

  #begin(id: number, length: number): void {
    if (length > MAX_FRAME || (id === 0) === this.#isListening || (id === 0 && length > 0)) {
      throw new SandboxError('agent', "the guest's connections cannot be read");
    }
    if (id === 0) {
      this.#isListening = true;
      this.#options.onListening();
      return;
    }
    this.#id = id;
    this.#left = length;
    if (id > this.#lastId) this.#connect(id);
    if (length === 0) this.#connections.get(id)?.receiveEnd();
  }

  #connect(id: number): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      throw new SandboxError('agent', `the guest has opened more than ${MAX_CONNECTIONS} connections`);
    }
    if (this.#untaken >= MAX_UNTAKEN) throw new SandboxError('agent', 'the guest takes nothing of its connections');
    this.#lastId = id;
    const connection = new GuestConnection({
      send: (bytes, done) => this.#send(id, bytes, done),
      close: () => {
        this.#connections.delete(id);
        this.#untaken++;
        this.#send(id, Buffer.alloc(0), () => this.#untaken--);
      },
    });
    this.#connections.set(id, connection);
    this.#options.onConnection(connection);
  }

  #send(id: number, bytes: Buffer, done: (error?: Error | null) => void): void {
    const frame = Buffer.allocUnsafe(HEADER + bytes.length);
    frame.writeUInt32BE(id, 0);
    frame.writeUInt32BE(bytes.length, 4);
    bytes.copy(frame, HEADER);
    this.#options.output.write(frame, done);
  }
}

interface Way {
  send(bytes: Buffer, done: (error?: Error | null) => void): void;
  close(): void;
}

/** A connection of a client in the guest. To end it closes it. */
class GuestConnection extends Duplex {
  readonly #way: Way;
  /** Bytes that the reader has not asked for yet. */
  #unread = new GatheredBytes();
  #isWanted = false;
  #hasEnded = false;
  #isClosed = false;

  constructor(way: Way) {
    // The pieces that a client cuts its bytes into wait here, and not in a list of them.
    super({ readableHighWaterMark: 1 });
    this.#way = way;
    // Its owner may have left.
    this.on('error', () => {});
  }

  receive(bytes: Buffer): void {
    if (this.#hasEnded || this.#isClosed) return;
    if (this.readableLength + this.#unread.length + bytes.length > MAX_UNREAD) {
      this.destroy(new SandboxError('agent', `a client in the guest has sent more than ${MAX_UNREAD} bytes unasked`));
      return;
    }
    this.#unread.add(bytes);
    this.#pass();
  }

  receiveEnd(): void {
    if (this.#hasEnded || this.#isClosed) return;
    this.#hasEnded = true;
    this.#pass();
  }

  override _read(): void {
    this.#isWanted = true;
    this.#pass();
  }

  /** Gives the reader what has come, if it has asked. */
  #pass(): void {
    if (!this.#isWanted) return;
    const { bytes } = this.#unread;
    if (bytes.length > 0) {
      this.#isWanted = false;
      this.#unread = new GatheredBytes();
      this.push(bytes);
    } else if (this.#hasEnded) this.push(null);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const [first, rest] = [chunk.subarray(0, MAX_FRAME), chunk.subarray(MAX_FRAME)];
    if (rest.length === 0) this.#way.send(first, done);
    else this.#way.send(first, (error) => (error ? done(error) : this._write(rest, 'binary', done)));
  }

  override _final(done: () => void): void {
    this.#close();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#close();
    done(error);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#way.close();
  }
}
