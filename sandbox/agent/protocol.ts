// The host's side of the agent protocol: frames to bytes, and bytes to frames. Specification: guest-agent/PROTOCOL.md.
// The guest is hostile: no length, tag or value is trusted, and what breaks the protocol is a ProtocolError.

import { decodeFields, encodeFields, type Fields } from './fields.js';
import {
  AGENT_PORT,
  type AgentFrame,
  CAPABILITIES,
  ERROR_KINDS,
  type Frame,
  MAX_AGENT_PAYLOAD,
  MAX_HOST_PAYLOAD,
  ProtocolError,
  RLIMITS,
  STREAMS,
} from './frames.js';

export * from './frames.js';

/** Bytes of a frame's header: u32 payload length, u16 type, u16 request, little-endian. */
export const HEADER_LENGTH = 8;

const U16 = 0xffff;
const U32 = 0xffff_ffff;
const SAFE = Number.MAX_SAFE_INTEGER;

const terminal: Fields = [
  { tag: 1, name: 'columns', kind: 'integer', max: U16, required: true },
  { tag: 2, name: 'rows', kind: 'integer', max: U16, required: true },
];

const rlimit: Fields = [
  { tag: 1, name: 'name', kind: 'choice', names: RLIMITS, first: 0, required: true },
  { tag: 2, name: 'soft', kind: 'limit', required: true },
  { tag: 3, name: 'hard', kind: 'limit', required: true },
];

const processSpec: Fields = [
  { tag: 1, name: 'id', kind: 'integer', min: 1, max: U32, required: true },
  { tag: 2, name: 'argv', kind: 'text', max: 131_071, repeated: true, required: true },
  { tag: 3, name: 'env', kind: 'text', max: 131_071, repeated: true },
  { tag: 4, name: 'cwd', kind: 'text', max: 4095 },
  { tag: 5, name: 'user', kind: 'text', max: 255 },
  { tag: 6, name: 'groups', kind: 'text', max: 255, repeated: true },
  { tag: 7, name: 'terminal', kind: 'group', fields: terminal },
  { tag: 8, name: 'stdin', kind: 'flag' },
  { tag: 9, name: 'capabilities', kind: 'bits', names: CAPABILITIES },
  { tag: 10, name: 'noNewPrivileges', kind: 'flag' },
  { tag: 11, name: 'rlimits', kind: 'group', fields: rlimit, repeated: true },
  { tag: 12, name: 'seccomp', kind: 'program' },
  { tag: 20, name: 'port', kind: 'integer', min: AGENT_PORT, max: U32 - 1 },
  { tag: 21, name: 'tool', kind: 'flag' },
];

const root: Fields = [
  { tag: 1, name: 'device', kind: 'text', max: 4095, required: true },
  { tag: 2, name: 'scratch', kind: 'text', max: 4095 },
  { tag: 3, name: 'tmpfsSize', kind: 'integer', max: SAFE },
  { tag: 4, name: 'readonly', kind: 'flag' },
];

const tmpfs: Fields = [
  { tag: 1, name: 'path', kind: 'text', max: 4095, required: true },
  { tag: 2, name: 'size', kind: 'integer', max: SAFE },
  { tag: 3, name: 'mode', kind: 'integer', max: 0o7777 },
  { tag: 4, name: 'uid', kind: 'integer', max: U32 },
  { tag: 5, name: 'gid', kind: 'integer', max: U32 },
  { tag: 6, name: 'readonly', kind: 'flag' },
  { tag: 7, name: 'exec', kind: 'flag' },
  { tag: 8, name: 'suid', kind: 'flag' },
  { tag: 9, name: 'dev', kind: 'flag' },
];

const share: Fields = [
  { tag: 1, name: 'index', kind: 'integer', max: 99_999, required: true },
  { tag: 2, name: 'path', kind: 'text', max: 4095, required: true },
  { tag: 3, name: 'readonly', kind: 'flag' },
];

const network: Fields = [
  { tag: 1, name: 'interface', kind: 'text', max: 15, required: true },
  { tag: 2, name: 'addresses', kind: 'text', max: 49, repeated: true },
  { tag: 3, name: 'gateways', kind: 'text', max: 49, repeated: true },
];

const limits: Fields = [
  { tag: 1, name: 'memory', kind: 'integer', max: SAFE },
  { tag: 2, name: 'pids', kind: 'integer', max: SAFE },
  { tag: 3, name: 'cpuQuota', kind: 'integer', max: SAFE },
  { tag: 4, name: 'cpuPeriod', kind: 'integer', max: SAFE },
];

const sysctl: Fields = [
  { tag: 1, name: 'path', kind: 'text', max: 255, required: true },
  { tag: 2, name: 'value', kind: 'text', max: 4095, required: true },
];

const processId: Fields[number] = { tag: 1, name: 'process', kind: 'integer', min: 1, max: U32, required: true };

const start: Fields = [
  { tag: 1, name: 'hostname', kind: 'text', max: 64, required: true },
  { tag: 2, name: 'clock', kind: 'integer', max: SAFE },
  { tag: 3, name: 'root', kind: 'group', fields: root, required: true },
  { tag: 4, name: 'tmpfs', kind: 'group', fields: tmpfs, repeated: true },
  { tag: 5, name: 'hosts', kind: 'text', max: MAX_HOST_PAYLOAD },
  { tag: 6, name: 'resolvConf', kind: 'text', max: MAX_HOST_PAYLOAD },
  { tag: 7, name: 'shmSize', kind: 'integer', max: SAFE },
  { tag: 8, name: 'limits', kind: 'group', fields: limits },
  { tag: 9, name: 'process', kind: 'group', fields: processSpec, required: true },
  { tag: 10, name: 'sysctls', kind: 'group', fields: sysctl, repeated: true },
  { tag: 11, name: 'privileged', kind: 'flag' },
  { tag: 12, name: 'init', kind: 'flag' },
  { tag: 13, name: 'shares', kind: 'group', fields: share, repeated: true },
  { tag: 14, name: 'network', kind: 'group', fields: network },
];

const hello: Fields = [
  { tag: 1, name: 'protocol', kind: 'integer', max: U32, required: true },
  { tag: 2, name: 'agent', kind: 'text', max: 255, required: true },
  { tag: 3, name: 'kernel', kind: 'text', max: 255, required: true },
  { tag: 4, name: 'running', kind: 'integer', max: SAFE },
];

const exited: Fields = [
  processId,
  { tag: 2, name: 'code', kind: 'integer', max: 255 },
  { tag: 3, name: 'signal', kind: 'integer', min: 1, max: 64 },
  { tag: 4, name: 'oomKilled', kind: 'flag' },
];

const error: Fields = [
  { tag: 1, name: 'kind', kind: 'choice', names: ERROR_KINDS, first: 1, required: true },
  { tag: 2, name: 'errno', kind: 'integer', max: 4095 },
  { tag: 3, name: 'message', kind: 'text', max: 8192, required: true },
];

interface FrameType {
  number: number;
  type: Frame['type'];
  fields: Fields;
  from: 'host' | 'agent';
  /** The header's request number is a property of the frame; otherwise it is 0. */
  request: boolean;
}

const FRAMES: readonly FrameType[] = [
  { number: 0x01, type: 'start', from: 'host', request: true, fields: start },
  {
    number: 0x02,
    type: 'exec',
    from: 'host',
    request: true,
    fields: [{ tag: 1, name: 'process', kind: 'group', fields: processSpec, required: true }],
  },
  {
    number: 0x03,
    type: 'signal',
    from: 'host',
    request: true,
    fields: [processId, { tag: 2, name: 'signal', kind: 'integer', min: 1, max: 64, required: true }],
  },
  {
    number: 0x04,
    type: 'resize',
    from: 'host',
    request: true,
    fields: [
      processId,
      { tag: 2, name: 'columns', kind: 'integer', max: U16, required: true },
      { tag: 3, name: 'rows', kind: 'integer', max: U16, required: true },
    ],
  },
  { number: 0x05, type: 'shutdown', from: 'host', request: true, fields: [] },
  { number: 0x06, type: 'ping', from: 'host', request: true, fields: [] },
  { number: 0x81, type: 'hello', from: 'agent', request: false, fields: hello },
  {
    number: 0x82,
    type: 'started',
    from: 'agent',
    request: true,
    fields: [processId, { tag: 2, name: 'pid', kind: 'integer', min: 1, max: U32, required: true }],
  },
  { number: 0x83, type: 'exited', from: 'agent', request: false, fields: exited },
  { number: 0x84, type: 'error', from: 'agent', request: true, fields: error },
  {
    number: 0x85,
    type: 'stream',
    from: 'agent',
    request: false,
    fields: [processId, { tag: 2, name: 'stream', kind: 'choice', names: STREAMS, first: 0, required: true }],
  },
  { number: 0x86, type: 'pong', from: 'agent', request: true, fields: [] },
];

/**
 * The bytes of one frame, header and payload.
 * @throws ProtocolError when a value is missing or out of range, or the payload is larger than its reader accepts
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
  if (!Number.isInteger(request) || request < 0 || request > U16) {
    throw new ProtocolError(`${frame.type}: request ${request} is not in 0 to 65535`);
  }
  const bytes = Buffer.allocUnsafe(HEADER_LENGTH + payload.length);
  bytes.writeUInt32LE(payload.length, 0);
  bytes.writeUInt16LE(frameType.number, 4);
  bytes.writeUInt16LE(request, 6);
  payload.copy(bytes, HEADER_LENGTH);
  return bytes;
}

/** A frame whose header and whole payload are at hand. */
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
 * Cuts a byte stream into frames, whatever the size of its chunks. After a `stream` frame the connection carries raw
 * bytes: no more frames are read, and `rest` holds the bytes that came behind it.
 */
class ByteStreamDecoder<F extends Frame> {
  #pending: Buffer[] = [];
  #length = 0;
  #raw = false;
  readonly #from: 'host' | 'agent';
  readonly #limit: number;

  constructor(from: 'host' | 'agent', limit: number) {
    this.#from = from;
    this.#limit = limit;
  }

  /** True once a `stream` frame was read. */
  get ended(): boolean {
    return this.#raw;
  }

  /** The bytes not yet taken as frames; after a `stream` frame, the first raw bytes. */
  get rest(): Buffer {
    return Buffer.concat(this.#pending, this.#length);
  }

  /**
   * The frames that `chunk` completes.
   * @throws ProtocolError when the bytes are no frames of this side; the connection is then of no further use
   */
  push(chunk: Buffer): F[] {
    this.#pending.push(chunk);
    this.#length += chunk.length;
    const frames: F[] = [];
    while (!this.#raw && this.#length >= HEADER_LENGTH) {
      const header = this.#peek(HEADER_LENGTH);
      const length = header.readUInt32LE(0);
      if (length > this.#limit)
        throw new ProtocolError(`a frame of ${length} bytes, at most ${this.#limit} are allowed`);
      if (this.#length < HEADER_LENGTH + length) break;
      const bytes = this.#peek(HEADER_LENGTH + length);
      this.#drop(bytes.length);
      const payload = bytes.subarray(HEADER_LENGTH);
      const frame = decodeFrame(this.#from, bytes.readUInt16LE(4), bytes.readUInt16LE(6), payload) as F;
      this.#raw = frame.type === 'stream';
      frames.push(frame);
    }
    return frames;
  }

  /** The first `count` pending bytes in one piece; `count` are there. */
  #peek(count: number): Buffer {
    if (this.#pending[0].length < count) this.#pending = [this.rest];
    return this.#pending[0].subarray(0, count);
  }

  #drop(count: number): void {
    this.#pending[0] = this.#pending[0].subarray(count);
    this.#length -= count;
    if (this.#pending[0].length === 0) this.#pending.shift();
  }
}

/** Decodes what the agent sends. */
export class FrameDecoder extends ByteStreamDecoder<AgentFrame> {
  constructor() {
    super('agent', MAX_AGENT_PAYLOAD);
  }
}

/** Decodes what a host sends, for tools and tests that stand in for the agent. */
export class HostFrameDecoder extends ByteStreamDecoder<Exclude<Frame, AgentFrame>> {
  constructor() {
    super('host', MAX_HOST_PAYLOAD);
  }
}
