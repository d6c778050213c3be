// What a client of the lab and the lab's PID 1 (init.c) say to each other, one command per connection. A frame is a
// type byte, a little-endian u32 length of at most 1 MiB, and that many bytes.

/** Bytes of stdin that may be on their way to a command that has not read them: frames of other types overtake none. */
export const STDIN_WINDOW = 256 * 1024;

export const FrameType = {
  /** To the lab: working directory, number of arguments, arguments, environment; each word ends in NUL. */
  start: 0x53,
  /** To the lab: bytes for stdin, and stdin's end. */
  stdin: 0x49,
  stdinEnd: 0x45,
  /** To the lab: a signal's number (i32) for the command. */
  kill: 0x4b,
  /** To the lab: end the command and all of its process group. */
  abort: 0x41,
  /** From the lab: the command read that many bytes (u32) of its stdin. */
  credit: 0x43,
  /** From the lab: bytes of stdout and stderr. */
  stdout: 0x4f,
  stderr: 0x52,
  /** From the lab: the wait status (u32); nothing follows. */
  exit: 0x58,
} as const;

const HEADER_LENGTH = 5;
const MAX_FRAME = 1 << 20;

export interface Frame {
  type: number;
  payload: Buffer;
}

export function encodeFrame(type: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const frame = Buffer.alloc(HEADER_LENGTH + payload.length);
  frame[0] = type;
  frame.writeUInt32LE(payload.length, 1);
  frame.set(payload, HEADER_LENGTH);
  return frame;
}

/** The start frame's payload. */
export function encodeCommand(cwd: string, argv: readonly string[], env: Record<string, string>): Buffer {
  const words = [cwd, String(argv.length), ...argv, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  return Buffer.from(words.map((word) => `${word}\0`).join(''));
}

/** Cuts a byte stream into frames. */
export class FrameReader {
  #rest = Buffer.alloc(0);

  push(chunk: Buffer): Frame[] {
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const frames: Frame[] = [];
    while (bytes.length >= HEADER_LENGTH) {
      const length = bytes.readUInt32LE(1);
      if (length > MAX_FRAME) throw new Error(`the lab sent a frame of ${length} bytes`);
      if (bytes.length < HEADER_LENGTH + length) break;
      frames.push({ type: bytes.readUInt8(0), payload: bytes.subarray(HEADER_LENGTH, HEADER_LENGTH + length) });
      bytes = bytes.subarray(HEADER_LENGTH + length);
    }
    this.#rest = Buffer.from(bytes);
    return frames;
  }
}
