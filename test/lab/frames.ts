// The protocol between a client of the lab and the lab's PID 1 (init.c), one command per
// connection. A frame is a type byte, a little-endian `u32` length of at most 1 MiB, and that many
// bytes.

/**
 * Bytes of stdin that may be in flight to a command that has not read them. Frames of other types
 * do not overtake them.
 */
export const STDIN_WINDOW = 256 * 1024;

export const FrameType = {
  /** To the lab: working directory, argument count, arguments, environment. Each ends in NUL. */
  start: 0x53,
  /** To the lab: bytes for stdin. */
  stdin: 0x49,
  /** To the lab: the end of stdin. */
  stdinEnd: 0x45,
  /** To the lab: the number (`i32`) of a signal for the command. */
  kill: 0x4b,
  /** To the lab: kill the command and its process group. */
  abort: 0x41,
  /** From the lab: the command has read this number (`u32`) of bytes of its stdin. */
  credit: 0x43,
  /** From the lab: bytes of stdout. */
  stdout: 0x4f,
  /** From the lab: bytes of stderr. */
  stderr: 0x52,
  /** From the lab: the wait status (`u32`). It is the last frame. */
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

/** Returns the payload of a start frame. */
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
