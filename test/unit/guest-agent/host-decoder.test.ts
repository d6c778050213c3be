// Proves that the host's codec survives a hostile guest, and refuses invalid values.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AgentFrame,
  ERROR_KINDS,
  encodeFrame,
  FrameDecoder,
  MAX_AGENT_PAYLOAD,
  MAX_HOST_PAYLOAD,
  ProtocolError,
  STREAMS,
} from '../../../sandbox/agent/protocol.js';
import { damaged } from './arbitrary-frames.js';

const u32 = fc.integer({ min: 1, max: 0xffff_ffff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const text = fc.string({ unit: 'grapheme', maxLength: 20 }).map((string) => string.replaceAll('\0', ''));

const agentFrame: fc.Arbitrary<AgentFrame> = fc.oneof(
  fc.record({ type: fc.constant('hello' as const), protocol: u32, agent: text, kernel: text, running: u32 }),
  fc.record({ type: fc.constant('started' as const), request: u16, process: u32, pid: u32 }),
  fc.record({
    type: fc.constant('exited' as const),
    process: u32,
    container: u32,
    code: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({
    type: fc.constant('error' as const),
    request: u16,
    kind: fc.constantFrom(...ERROR_KINDS),
    errno: fc.integer({ min: 1, max: 4095 }),
    message: text,
  }),
  fc.record({ type: fc.constant('pong' as const), request: u16 }),
  fc.record({ type: fc.constant('done' as const), request: u16 }),
);
const streamFrame = fc.record({
  type: fc.constant('stream' as const),
  process: u32,
  stream: fc.constantFrom(...STREAMS),
});

function pieces(bytes: Buffer, size: number): Buffer[] {
  const cut: Buffer[] = [];
  for (let start = 0; start < bytes.length; start += size) cut.push(bytes.subarray(start, start + size));
  return cut;
}

describe('the frame decoder', () => {
  test('finds the same frames however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(agentFrame, { maxLength: 8 }), fc.integer({ min: 1, max: 50 }), (frames, size) => {
        const decoder = new FrameDecoder();
        const bytes = Buffer.concat(frames.map(encodeFrame));
        expect(pieces(bytes, size).flatMap((piece) => decoder.push(piece))).toEqual(frames);
        expect(decoder.rest.length).toBe(0);
      }),
    );
  });

  test('does not touch the bytes behind a stream frame', () => {
    fc.assert(
      fc.property(streamFrame, fc.uint8Array(), fc.integer({ min: 1, max: 50 }), (frame, raw, size) => {
        const decoder = new FrameDecoder();
        const bytes = Buffer.concat([encodeFrame(frame), raw]);
        expect(pieces(bytes, size).flatMap((piece) => decoder.push(piece))).toEqual([frame]);
        expect(decoder.ended).toBe(true);
        expect(decoder.rest.equals(raw)).toBe(true);
      }),
    );
  });

  test('answers damaged bytes with frames or a ProtocolError, and nothing else', () => {
    const broken = fc.oneof(
      damaged(
        fc.array(agentFrame, { minLength: 1, maxLength: 4 }).map((frames) => Buffer.concat(frames.map(encodeFrame))),
      ),
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    );
    fc.assert(
      fc.property(broken, fc.integer({ min: 1, max: 200 }), (bytes, size) => {
        const decoder = new FrameDecoder();
        try {
          for (const piece of pieces(bytes, size)) decoder.push(piece);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('refuses a frame over the limit by its header', () => {
    const header = Buffer.alloc(8);
    header.writeUInt32LE(MAX_AGENT_PAYLOAD + 1, 0);
    expect(() => new FrameDecoder().push(header)).toThrow(ProtocolError);
  });

  test("refuses the host's own frames", () => {
    expect(() => new FrameDecoder().push(encodeFrame({ type: 'ping', request: 1 }))).toThrow(ProtocolError);
  });

  test('copies what is not complete: a guest that cuts frames into bytes takes no memory for each', () => {
    const decoder = new FrameDecoder();
    const bytes = encodeFrame({ type: 'pong', request: 7 });
    const piece = Buffer.alloc(1);
    const frames = Array.from(bytes).flatMap((byte) => {
      piece[0] = byte;
      return decoder.push(piece);
    });
    expect(frames).toEqual([{ type: 'pong', request: 7 }]);
  });

  test.each([
    ['neither code nor signal', {}],
    ['both', { code: 0, signal: 9 }],
  ])('refuses an exit with %s', (_, fields) => {
    const bytes = encodeFrame({ type: 'exited', process: 1, container: 1, ...fields });
    expect(() => new FrameDecoder().push(bytes)).toThrow(ProtocolError);
  });
});

describe('the encoder', () => {
  const start = (process: object) => () =>
    encodeFrame({ type: 'process', request: 1, container: 1, id: 1, argv: ['true'], ...process });

  test.each([
    ['no arguments', { argv: [] }, 'process.argv: is missing'],
    ['a NUL', { argv: ['a\0b'] }, 'process.argv: has a NUL character'],
    ['an argument too long', { env: ['x'.repeat(131_072)] }, 'process.env: 131072 bytes, at most 131071 fit'],
    ['an id out of range', { id: 0 }, 'process.id: 0 is not in 1 to 4294967295'],
    ['an unknown capability', { capabilities: ['FLY'] }, "process.capabilities: no such name 'FLY'"],
    ['a fraction', { rlimits: [{ name: 'core', soft: 0.5, hard: 1 }] }, 'process.rlimits.soft: 0.5 is not in'],
  ])('refuses %s', (_, process, message) => {
    expect(start(process)).toThrow(message);
    expect(start(process)).toThrow(ProtocolError);
  });

  test('refuses more than fits in a frame', () => {
    const env = Array.from({ length: 33 }, () => 'x'.repeat(131_000));
    expect(start({ env })).toThrow(`at most ${MAX_HOST_PAYLOAD} fit`);
  });
});
