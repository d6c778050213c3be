// The host's side of the agent protocol: encodes and decodes frames. Specification:
// guest-agent/PROTOCOL.md. The guest is hostile: no length, tag or value is trusted, and a
// violation of the protocol is a ProtocolError.

import { GatheredBytes } from '../../bytes/index.js';
import { decodeFields, encodeFields } from './fields.js';
import { FRAMES } from './frame-tables.generated.js';
import {
  type AgentFrame,
  FRAME_HEADER_LENGTH,
  type Frame,
  type HostFrame,
  MAX_AGENT_PAYLOAD,
  MAX_HOST_PAYLOAD,
  ProtocolError,
} from './frames.js';

export * from './frames.js';

/**
 * Encodes one frame, header and payload.
 * @throws ProtocolError if a value is missing or out of range, or the payload exceeds the reader's
 *   limit
 */
export function encodeFrame(frame: Frame): Buffer {
  const frameType = FRAMES.find(({ type }) => type === frame.type);
  if (!frameType) throw new ProtocolError(`no frame type '${frame.type}'`);
  const payload = encodeFields(frameType.fields, frame, frame.type);
  const limit = frameType.from === 'host' ? MAX_HOST_PAYLOAD : MAX_AGENT_PAYLOAD;
  if (payload.length > limit) {
    throw new ProtocolError(
      `${frame.type}: ${payload.length} bytes of arguments and environment, at most ${limit} fit`,
    );
  }
  const request = 'request' in frame ? frame.request : 0;
  if (!Number.isInteger(request) || request < 0 || request > 0xffff) {
    throw new ProtocolError(`${frame.type}: request ${request} is not in 0 to 65535`);
  }
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_LENGTH + payload.length);
  bytes.writeUInt32LE(payload.length, 0);
  bytes.writeUInt16LE(frameType.number, 4);
  bytes.writeUInt16LE(request, 6);
  payload.copy(bytes, FRAME_HEADER_LENGTH);
  return bytes;
}

/** Decodes a frame from the numbers of its header and its whole payload. */
function decodeFrame(from: 'host' | 'agent', number: number, request: number, payload: Buffer): Frame {
  const frameType = FRAMES.find((candidate) => candidate.number === number && candidate.from === from);
  if (!frameType) throw new ProtocolError(`unknown frame type ${number} from the ${from}`);
  const { type, fields } = frameType;
  const header = frameType.request ? { type, request } : { type };
  const frame = { ...header, ...decodeFields(fields, payload, type) } as unknown as Frame;
  if (frame.type === 'exited' && (frame.code === undefined) === (frame.signal === undefined)) {
    throw new ProtocolError('exited: needs a code or a signal, and not both');
  }
  return frame;
}

/**
 * Cuts a byte stream, in chunks of any size, into frames. After a `stream` frame the connection
 * carries raw bytes: no more frames are read, and `rest` holds the bytes behind the frame.
 */
class ByteStreamDecoder<F extends Frame> {
  #pending = new GatheredBytes();
  #raw = false;
  readonly #from: 'host' | 'agent';
  readonly #limit: number;

  constructor(from: 'host' | 'agent', limit: number) {
    this.#from = from;
    this.#limit = limit;
  }

  /** True once a `stream` frame has been read. */
  get ended(): boolean {
    return this.#raw;
  }

  /** The bytes that are not yet part of a frame. After a `stream` frame, the first raw bytes. */
  get rest(): Buffer {
    return this.#pending.bytes;
  }

  /**
   * Returns the frames that `chunk` completes.
   * @throws ProtocolError if the bytes are not frames of this side; close the connection then
   */
  push(chunk: Buffer): F[] {
    this.#pending.add(chunk);
    let bytes = this.#pending.bytes;
    const frames: F[] = [];
    for (let end = this.#frameEnd(bytes); end <= bytes.length; end = this.#frameEnd(bytes)) {
      const payload = bytes.subarray(FRAME_HEADER_LENGTH, end);
      const frame = decodeFrame(this.#from, bytes.readUInt16LE(4), bytes.readUInt16LE(6), payload) as F;
      this.#raw = frame.type === 'stream';
      frames.push(frame);
      bytes = bytes.subarray(end);
    }
    if (frames.length === 0) return frames;
    // The frames keep the memory that they lie in.
    this.#pending = new GatheredBytes();
    this.#pending.add(bytes);
    return frames;
  }

  /** Bytes of the frame that begins here. More than there are if that is not known, or none is read. */
  #frameEnd(bytes: Buffer): number {
    if (this.#raw || bytes.length < FRAME_HEADER_LENGTH) return Number.POSITIVE_INFINITY;
    const length = bytes.readUInt32LE(0);
    if (length > this.#limit) throw new ProtocolError(`a frame of ${length} bytes, at most ${this.#limit} are allowed`);
    return FRAME_HEADER_LENGTH + length;
  }
}

/** Decodes what the agent sends. */
export class FrameDecoder extends ByteStreamDecoder<AgentFrame> {
  constructor() {
    super('agent', MAX_AGENT_PAYLOAD);
  }
}

/** Decodes what a host sends, for tests that stand in for the agent. */
export class HostFrameDecoder extends ByteStreamDecoder<HostFrame> {
  constructor() {
    super('host', MAX_HOST_PAYLOAD);
  }
}
